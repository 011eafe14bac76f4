//! The load of a queue set, now and as it changes.

use celeriac_proto::v1;
use tonic::{Request, Streaming};

use crate::{Client, Error};

impl Client {
    /// Reads the demand of a queue set.
    ///
    /// # Errors
    ///
    /// When the aggregator cannot be reached, gives no answer in time, or refuses.
    pub async fn get_demand(&self, request: v1::GetDemandRequest) -> Result<v1::Demand, Error> {
        let service = self.demand();
        let answer = self
            .repeat(|| {
                let mut timed = Request::new(request.clone());
                timed.set_timeout(self.deadline());
                let mut service = service.clone();
                async move { service.get_demand(timed).await }
            })
            .await?;
        Ok(answer.demand.unwrap_or_default())
    }

    /// Opens a stream of the demand of a queue set.
    ///
    /// # Errors
    ///
    /// When the aggregator cannot be reached, or refuses.
    pub async fn watch_demand(
        &self,
        request: v1::WatchDemandRequest,
    ) -> Result<DemandStream, Error> {
        let service = self.demand();
        let stream = self
            .repeat(|| {
                let (mut service, request) = (service.clone(), request.clone());
                async move { service.watch_demand(request).await }
            })
            .await?;
        Ok(DemandStream {
            client: self.clone(),
            stream,
        })
    }
}

/// The demand of a queue set as it changes. It ends with its first error; the caller opens another.
#[derive(Debug)]
pub struct DemandStream {
    client: Client,
    stream: Streaming<v1::WatchDemandResponse>,
}

impl DemandStream {
    /// What is known next. Dropping the future loses nothing.
    ///
    /// # Errors
    ///
    /// When the stream broke, or was silent for longer than the aggregator ever is.
    pub async fn next(&mut self) -> Result<v1::Demand, Error> {
        let address = self.client.address();
        let silence = self.client.watch_silence();
        match tokio::time::timeout(silence, self.stream.message()).await {
            Ok(Ok(Some(message))) => Ok(message.demand.unwrap_or_default()),
            Ok(Ok(None)) => Err(Error::Broken {
                address: address.clone(),
                reason: "the aggregator ended the stream".to_owned(),
            }),
            Ok(Err(status)) => Err(Error::from_status(&status, address, silence)),
            Err(_) => Err(Error::Deadline {
                address: address.clone(),
                deadline: silence,
            }),
        }
    }
}
