//! Stub: a request is one byte.

use tokio::io::{AsyncRead, AsyncReadExt as _};
use tokio::time::Instant;

use crate::config::Limits;
use crate::io::deadline;
use crate::refusal::Refused;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Persistence {
    KeepAlive,
    Close,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Reply {
    pub(crate) persistence: Persistence,
}

impl Reply {
    pub(crate) fn to_unparsed(_: &[u8]) -> Self {
        Self {
            persistence: Persistence::Close,
        }
    }
}

#[derive(Debug)]
pub(crate) struct Request<T> {
    pub(crate) target: T,
    pub(crate) kind: u8,
    pub(crate) reply: Reply,
}

pub(crate) enum ReadHead {
    Head(Vec<u8>),
    Eof,
}

#[derive(Debug, Default)]
pub(crate) struct RequestReader;

impl RequestReader {
    pub(crate) async fn next(
        &mut self,
        stream: &mut (impl AsyncRead + Unpin),
        idle_until: Instant,
        _: &Limits,
    ) -> Result<ReadHead, Refused> {
        match deadline::by(idle_until, stream.read_u8()).await {
            Some(Ok(byte)) => Ok(ReadHead::Head(vec![byte])),
            Some(Err(_)) | None => Ok(ReadHead::Eof),
        }
    }

    pub(crate) fn has_begun(&self) -> bool {
        false
    }

    pub(crate) fn reply_to_unparsed(&self) -> Reply {
        Reply::to_unparsed(&[])
    }
}
