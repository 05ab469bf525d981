//! How messages are read and written on a connection: as the generator's own codec does, but what a
//! message will take in memory is reckoned before it is read.

use std::marker::PhantomData;

use bytes::Buf;
use prost::Message;
use tonic::Status;
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};
use travertine_engine::contract::{Error, Result};

use super::error::to_status;
use super::room::{self, Shaped};

/// The codec of every service and client here.
#[derive(Debug)]
pub(crate) struct Bounded<T, U>(PhantomData<(T, U)>);

impl<T, U> Default for Bounded<T, U> {
    fn default() -> Self {
        Self(PhantomData)
    }
}

impl<T, U> Codec for Bounded<T, U>
where
    T: Message + Send + 'static,
    U: Message + Shaped + Default + Send + 'static,
{
    type Encode = T;
    type Decode = U;
    type Encoder = Writer<T>;
    type Decoder = Reader<U>;

    fn encoder(&mut self) -> Writer<T> {
        Writer(PhantomData)
    }

    fn decoder(&mut self) -> Reader<U> {
        Reader(PhantomData)
    }
}

/// Writes messages.
#[derive(Debug)]
pub(crate) struct Writer<T>(PhantomData<T>);

impl<T: Message> Encoder for Writer<T> {
    type Item = T;
    type Error = Status;

    fn encode(&mut self, message: T, bytes: &mut EncodeBuf<'_>) -> std::result::Result<(), Status> {
        // Room at once: a long message would be copied each time that the buffer grows.
        bytes.reserve(message.encoded_len());
        let written = message.encode(bytes);
        written.map_err(|error| Status::internal(error.to_string()))
    }
}

/// Reads messages.
#[derive(Debug)]
pub(crate) struct Reader<U>(PhantomData<U>);

impl<U: Message + Shaped + Default> Decoder for Reader<U> {
    type Item = U;
    type Error = Status;

    fn decode(&mut self, bytes: &mut DecodeBuf<'_>) -> std::result::Result<Option<U>, Status> {
        // Out of the library's buffer, without a copy: what is read piece by piece is read quicker from
        // bytes that are nobody else's.
        let message = read(bytes.copy_to_bytes(bytes.remaining()));
        message.map(Some).map_err(|error| to_status(&error))
    }
}

/// A message of these bytes, which lie in one piece.
///
/// Errors: `Invalid`, where they are none, or one that would take far more room than it has bytes.
pub(crate) fn read<U: Message + Shaped + Default>(bytes: impl Buf) -> Result<U> {
    room::check(U::SHAPE, bytes.chunk())?;
    U::decode(bytes).map_err(|error| Error::invalid(format!("this is no message: {error}")))
}
