//! Traces, exported to a collector of OpenTelemetry: protobuf over plain HTTP.
//!
//! The collector is meant to run beside this program, on the same machine: there is no TLS here, and an
//! `https` address is refused. What cannot be exported is lost, and never holds up a call.

use std::future::Future;
use std::io::{Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::pin::Pin;
use std::time::Duration;

use opentelemetry::Context;
use opentelemetry::trace::{
    SpanContext, SpanId, TraceContextExt, TraceFlags, TraceId, TraceState, TracerProvider,
};
use opentelemetry_http::{Bytes, HttpClient, HttpError, Request, Response};
use opentelemetry_otlp::{Protocol, SpanExporter, WithExportConfig, WithHttpConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::{SdkTracer, SdkTracerProvider};
use tracing::Span;
use tracing::level_filters::LevelFilter;
use tracing_opentelemetry::{OpenTelemetryLayer, OpenTelemetrySpanExt};
use tracing_subscriber::filter::{Filtered, Targets};
use tracing_subscriber::layer::Layer;
use tracing_subscriber::registry::LookupSpan;

use super::Failure;
use crate::contract::{Error, TraceParent, trace};

/// Longest wait for a collector, of a thread that does nothing else.
const PATIENCE: Duration = Duration::from_secs(5);
/// Most that a collector may answer.
const ANSWER_MAX: u64 = 64 << 10;

/// The layer that takes spans of ours.
pub(super) type Exported<S> = Filtered<OpenTelemetryLayer<S, SdkTracer>, Targets, S>;

/// Exports until it is dropped, and what is left then.
pub(super) struct Export(SdkTracerProvider);

impl Export {
    /// Begins, and answers the layer that takes what is to be exported: every span of ours down to
    /// single calls.
    pub(super) fn begin<S>(url: &str) -> Result<(Exported<S>, Self), Failure>
    where
        S: tracing::Subscriber + for<'a> LookupSpan<'a>,
    {
        let collector = Collector::at(url)?;
        let failed = |error| Failure::wrong(format!("no traces can be exported to {url}: {error}"));
        let exporter = SpanExporter::builder()
            .with_http()
            .with_http_client(collector)
            .with_protocol(Protocol::HttpBinary)
            .with_endpoint(format!("{}/v1/traces", url.trim_end_matches('/')))
            .with_timeout(PATIENCE)
            .build()
            .map_err(failed)?;
        let provider = SdkTracerProvider::builder()
            .with_batch_exporter(exporter)
            .with_resource(Resource::builder().with_service_name("travertine").build())
            .build();
        let layer = tracing_opentelemetry::layer().with_tracer(provider.tracer("travertine"));
        let ours = Targets::new().with_target("travertine", LevelFilter::TRACE);
        // A program around this one may have its own; then its spans are those that count.
        let _ = trace::install(Box::new(Bridge));
        Ok((layer.with_filter(ours), Self(provider)))
    }
}

impl Drop for Export {
    fn drop(&mut self) {
        if let Err(error) = self.0.shutdown() {
            tracing::warn!(%error, "some traces were not exported");
        }
    }
}

/// Between the spans of `tracing` and traces as they go over a wire.
#[derive(Debug)]
struct Bridge;

impl trace::Tracer for Bridge {
    fn current(&self) -> Option<TraceParent> {
        let context = Span::current().context();
        let span = context.span();
        let place = span.span_context();
        TraceParent::new(
            u128::from_be_bytes(place.trace_id().to_bytes()),
            u64::from_be_bytes(place.span_id().to_bytes()),
            place.is_sampled(),
        )
    }

    fn adopt(&self, span: &Span, caller: TraceParent) {
        let flags = TraceFlags::default().with_sampled(caller.is_sampled());
        let place = SpanContext::new(
            TraceId::from_bytes(caller.trace().to_be_bytes()),
            SpanId::from_bytes(caller.span().to_be_bytes()),
            flags,
            true,
            TraceState::default(),
        );
        // It fails where nobody exports this span: then there is nothing to go on.
        let _ = span.set_parent(Context::new().with_remote_span_context(place));
    }
}

/// Who takes the traces.
#[derive(Debug)]
struct Collector {
    /// Host and port.
    address: String,
}

impl Collector {
    fn at(url: &str) -> Result<Self, Failure> {
        let wrong = |why: &str| Failure::wrong(format!("--otlp {url}: {why}"));
        let Some(rest) = url.strip_prefix("http://") else {
            return Err(wrong(
                "traces go over plain HTTP, to a collector beside this program, like http://127.0.0.1:4318",
            ));
        };
        let address = rest.split('/').next().unwrap_or_default();
        match address
            .rsplit_once(':')
            .map(|(host, port)| (host, port.parse::<u16>()))
        {
            Some((host, Ok(_))) if !host.is_empty() => Ok(Self {
                address: address.to_owned(),
            }),
            _ => Err(wrong("name a host and a port")),
        }
    }

    fn send(&self, request: &Request<Bytes>) -> std::io::Result<Response<Bytes>> {
        let broken =
            |what: &'static str| std::io::Error::new(std::io::ErrorKind::InvalidData, what);
        let mut places = self.address.to_socket_addrs()?;
        let place = places
            .next()
            .ok_or_else(|| broken("nobody has this address"))?;
        let mut stream = TcpStream::connect_timeout(&place, PATIENCE)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        // By the older version the answer ends where the connection does.
        let mut text = format!(
            "POST {} HTTP/1.0\r\nHost: {}\r\n",
            request.uri().path(),
            self.address
        );
        for (name, value) in request.headers() {
            let value = value.to_str().map_err(|_| broken("a header is no text"))?;
            text.push_str(&format!("{name}: {value}\r\n"));
        }
        text.push_str(&format!("Content-Length: {}\r\n\r\n", request.body().len()));
        stream.write_all(text.as_bytes())?;
        stream.write_all(request.body())?;
        let mut answer = Vec::new();
        stream.take(ANSWER_MAX).read_to_end(&mut answer)?;
        let head =
            String::from_utf8_lossy(answer.split(|byte| *byte == b'\r').next().unwrap_or(&[]));
        let status = head
            .split(' ')
            .nth(1)
            .and_then(|code| code.parse::<u16>().ok());
        let status = status.ok_or_else(|| broken("the collector speaks no HTTP"))?;
        let body = answer.windows(4).position(|four| four == b"\r\n\r\n");
        let body = body.map_or(Bytes::new(), |at| Bytes::copy_from_slice(&answer[at + 4..]));
        Response::builder()
            .status(status)
            .body(body)
            .map_err(std::io::Error::other)
    }
}

impl HttpClient for Collector {
    /// Blocks: spans are exported by a thread of their own.
    fn send_bytes<'a, 'b>(
        &'a self,
        request: Request<Bytes>,
    ) -> Pin<Box<dyn Future<Output = Result<Response<Bytes>, HttpError>> + Send + 'b>>
    where
        'a: 'b,
        Self: 'b,
    {
        let sent = self.send(&request).map_err(|error| {
            let what = format!("the collector at {}: {error}", self.address);
            HttpError::from(Error::io(what, error))
        });
        Box::pin(std::future::ready(sent))
    }
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead, BufReader};
    use std::net::TcpListener;
    use std::path::Path;

    use tracing_subscriber::layer::SubscriberExt;

    use super::*;
    use crate::config::{Overrides, StackFile};
    use crate::contract::Env;

    #[test]
    fn a_collector_is_a_host_and_a_port_beside_us() {
        for url in [
            "http://127.0.0.1:4318",
            "http://[::1]:4318/",
            "http://localhost:1/x",
        ] {
            Collector::at(url).unwrap();
        }
        for url in [
            "https://127.0.0.1:4318",
            "127.0.0.1:4318",
            "http://x",
            "http://:1",
            "",
        ] {
            Collector::at(url).unwrap_err();
        }
    }

    /// Takes requests, until one connects who says nothing; answers their first lines and their bodies.
    fn collect(listener: &TcpListener) -> (Vec<String>, Vec<u8>) {
        let (mut firsts, mut bodies) = (Vec::new(), Vec::new());
        loop {
            let (stream, _) = listener.accept().unwrap();
            let mut reader = BufReader::new(stream);
            let mut first = String::new();
            if reader.read_line(&mut first).unwrap() == 0 {
                return (firsts, bodies);
            }
            firsts.push(first);
            let mut length = 0;
            loop {
                let mut line = String::new();
                reader.read_line(&mut line).unwrap();
                let line = line.trim().to_ascii_lowercase();
                if line.is_empty() {
                    break;
                }
                if let Some(said) = line.strip_prefix("content-length: ") {
                    length = said.parse().unwrap();
                }
            }
            let mut body = vec![0; length];
            reader.read_exact(&mut body).unwrap();
            bodies.extend(body);
            let answer = b"HTTP/1.0 200 OK\r\nContent-Type: application/x-protobuf\r\n\r\n";
            reader.get_mut().write_all(answer).unwrap();
        }
    }

    #[test]
    fn calls_go_to_the_collector_as_a_part_of_the_callers_trace() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let caller = TraceParent::new(0x1122_3344_5566_7788_99aa_bbcc_ddee_ff01, 7, true);
        let (firsts, bodies) = std::thread::scope(|scope| {
            let collected = scope.spawn(|| collect(&listener));
            let (layer, export) = Export::begin(&format!("http://127.0.0.1:{port}")).unwrap();
            let subscriber = tracing_subscriber::registry().with(layer);
            tracing::subscriber::with_default(subscriber, || {
                let text =
                    "level = \"memory\"\n[[layer]]\nuse = \"cache\"\n[[layer]]\nuse = \"memory\"\n";
                let (registry, overrides) = (crate::standard(), Overrides::none());
                let file = StackFile::parse("it.toml", text, Path::new(""), &registry, &overrides);
                let (_, engine) = file.unwrap().engine(&Env::system(), false).unwrap();
                trace::within(caller, || {
                    let session = engine.session().unwrap();
                    session.commit(&[], None).wait().unwrap();
                });
                // What is sent on from within a span is that span, in the caller's trace.
                let span = tracing::info_span!(target: "travertine::test", "outer");
                trace::within(caller, || {
                    trace::Tracer::adopt(&Bridge, &span, caller.unwrap())
                });
                let sent = span.in_scope(trace::current).unwrap();
                assert_eq!(sent.trace(), caller.unwrap().trace());
                assert_ne!(sent.span(), 7);
                engine.close().unwrap();
            });
            drop(export);
            drop(TcpStream::connect(("127.0.0.1", port)).unwrap());
            collected.join().unwrap()
        });
        assert!(!firsts.is_empty());
        assert!(
            firsts
                .iter()
                .all(|first| first == "POST /v1/traces HTTP/1.0\r\n")
        );
        let holds = |wanted: &[u8]| bodies.windows(wanted.len()).any(|part| part == wanted);
        let trace = caller.unwrap().trace().to_be_bytes();
        for wanted in [
            b"commit".as_slice(),
            b"adopt",
            b"travertine",
            b"floor",
            &trace,
        ] {
            assert!(holds(wanted), "{wanted:?} is not in what was exported");
        }
    }
}
