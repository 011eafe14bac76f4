//! Any RPC by its name, with bytes for messages: a test that goes through all of them needs no client for each.

use prost::bytes::{Buf as _, BufMut as _};
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::codegen::http::uri::PathAndQuery;
use tonic::{Code, Request, Status};

use crate::bed::{Known, SOON};

/// Messages as they are on the wire.
#[derive(Clone, Copy, Default)]
struct Bytes;

impl Codec for Bytes {
    type Encode = Vec<u8>;
    type Decode = Vec<u8>;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        *self
    }

    fn decoder(&mut self) -> Self {
        *self
    }
}

impl Encoder for Bytes {
    type Item = Vec<u8>;
    type Error = Status;

    fn encode(&mut self, item: Vec<u8>, into: &mut EncodeBuf<'_>) -> Result<(), Status> {
        into.put_slice(&item);
        Ok(())
    }
}

impl Decoder for Bytes {
    type Item = Vec<u8>;
    type Error = Status;

    fn decode(&mut self, from: &mut DecodeBuf<'_>) -> Result<Option<Vec<u8>>, Status> {
        let length = from.remaining();
        Ok(Some(from.copy_to_bytes(length).to_vec()))
    }
}

/// Calls `Service/Method` of `celeriac.v1` with one message; the first message of the answer, empty when there is none.
pub(crate) async fn call(known: &Known, method: &str, message: &[u8]) -> Result<Vec<u8>, Status> {
    all(known, method, message, 1).await.map(|all| all.concat())
}

/// As [`call`], with as many messages of the answer as there are, at most `most`.
pub(crate) async fn all(
    known: &Known,
    method: &str,
    message: &[u8],
    most: usize,
) -> Result<Vec<Vec<u8>>, Status> {
    let path: PathAndQuery = format!("/celeriac.v1.{method}")
        .parse()
        .expect("names of RPCs make a path");
    let mut client = tonic::client::Grpc::new(known.clone()).max_decoding_message_size(64 << 20);
    let talk = async {
        client
            .ready()
            .await
            .map_err(|error| Status::new(Code::Unknown, error.to_string()))?;
        // On the wire an RPC with one message is one with a stream of one.
        let request = Request::new(tokio_stream::once(message.to_vec()));
        let mut answer = client.streaming(request, path, Bytes).await?.into_inner();
        let mut messages = Vec::new();
        while messages.len() < most {
            let Some(message) = answer.message().await? else {
                break;
            };
            messages.push(message);
        }
        Ok(messages)
    };
    let talked = tokio::time::timeout(SOON, talk).await;
    talked.unwrap_or_else(|_elapsed| panic!("{method} gave neither answer nor refusal in {SOON:?}"))
}
