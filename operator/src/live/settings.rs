//! Settings of workers on line. Lists leave them out, since they are long: each worker is asked for by itself, once in its
//! life, a few in each round.

use std::collections::{BTreeMap, HashMap};

use celeriac_client::{Client, Code, Error, v1};

use crate::figures::lint;
use crate::figures::picture::App;

/// Workers asked for in one round.
const ROUND_MAX: usize = 10;

/// Rounds after which a worker that had not told its settings yet is asked for again: about a minute.
const AGAIN_AFTER: u64 = 12;

/// A worker by app and node name.
pub(super) type Name = (String, String);

/// In which of its lives a worker is, where that is known.
pub(super) type Life = Option<u64>;

/// What is known of the settings of workers on line; as many as there are of those.
#[derive(Default)]
pub(super) struct Settings {
    round: u64,
    told: HashMap<Name, Told>,
}

/// What a worker told.
struct Told {
    life: Life,
    /// In which round it was asked for.
    round: u64,
    /// `None`: the aggregator did not know them yet.
    settings: Option<lint::Settings>,
}

impl Settings {
    /// One round, of the workers that are on line now.
    pub(super) async fn ask(
        &mut self,
        client: &Client,
        online: HashMap<Name, Life>,
    ) -> Result<(), Error> {
        self.round += 1;
        self.told
            .retain(|name, told| online.get(name) == Some(&told.life));
        let due: Vec<(Name, Life)> = online
            .into_iter()
            .filter(|(name, _)| self.is_due(name))
            .take(ROUND_MAX)
            .collect();
        for ((app, name), life) in due {
            let request = v1::GetWorkerRequest {
                app: app.clone(),
                name: name.clone(),
            };
            let found = match client.get_worker(request).await {
                Ok(found) => found.worker,
                // It has gone since it was listed.
                Err(Error::Refused(refusal)) if refusal.code == Code::NotFound => continue,
                Err(error) => return Err(error),
            };
            let configuration = found
                .and_then(|worker| worker.inspection)
                .and_then(|inspection| inspection.configuration_json);
            let told = Told {
                life,
                round: self.round,
                settings: configuration.as_deref().and_then(lint::Settings::read),
            };
            self.told.insert((app, name), told);
        }
        Ok(())
    }

    fn is_due(&self, name: &Name) -> bool {
        self.told
            .get(name)
            .is_none_or(|told| told.settings.is_none() && self.round >= told.round + AGAIN_AFTER)
    }

    /// Puts what is known to the apps it is of.
    pub(super) fn tell(&self, apps: &mut BTreeMap<String, App>) {
        for ((app, worker), told) in &self.told {
            if let (Some(app), Some(settings)) = (apps.get_mut(app), &told.settings) {
                app.settings.insert(worker.clone(), settings.clone());
            }
        }
    }
}
