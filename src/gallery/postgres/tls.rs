//! TLS for connections to the server: rustls over ring, as everywhere else.

use std::future::Future;
use std::io;
use std::path::Path;
use std::pin::Pin;
use std::task::{Context, Poll};

use postgres::tls::{ChannelBinding, MakeTlsConnect, TlsConnect, TlsStream};
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_rustls::TlsConnector;

use crate::tls;

/// Makes encrypted connections, and checks the server's certificate and name.
#[derive(Clone)]
pub(super) struct Tls(TlsConnector);

impl Tls {
    /// `roots` is a PEM file with the certificates to trust; `None`: those of the system.
    pub(super) fn new(roots: Option<&Path>) -> Result<Self, String> {
        Ok(Self(TlsConnector::from(tls::client_config(roots, "sslrootcert")?)))
    }
}

impl<S> MakeTlsConnect<S> for Tls
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    type Stream = Stream<S>;
    type TlsConnect = Handshake;
    type Error = io::Error;

    fn make_tls_connect(&mut self, host: &str) -> io::Result<Handshake> {
        let name = ServerName::try_from(host.to_owned()).map_err(io::Error::other)?;
        Ok(Handshake { connector: self.0.clone(), name })
    }
}

/// A handshake with one server.
pub(super) struct Handshake {
    connector: TlsConnector,
    name: ServerName<'static>,
}

impl<S> TlsConnect<S> for Handshake
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    type Stream = Stream<S>;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<Stream<S>>> + Send>>;

    fn connect(self, stream: S) -> Self::Future {
        Box::pin(async move {
            let stream = self.connector.connect(self.name, stream).await?;
            Ok(Stream(Box::new(stream)))
        })
    }
}

/// An encrypted connection.
pub(super) struct Stream<S>(Box<tokio_rustls::client::TlsStream<S>>);

impl<S: AsyncRead + AsyncWrite + Unpin> TlsStream for Stream<S> {
    /// The password is not bound to the connection: the certificate is always checked.
    fn channel_binding(&self) -> ChannelBinding {
        ChannelBinding::none()
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for Stream<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(context, buffer)
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Stream<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::TcpListener;
    use std::sync::Arc;

    use rustls::pki_types::pem::PemObject;
    use rustls::pki_types::{CertificateDer, PrivateKeyDer};

    use crate::embed::{Embedding, Fingerprint};
    use crate::gallery::{Access, Gallery, GalleryError, Location};

    /// Accepts one connection as a server that wants TLS, with the certificate of tests/data, which
    /// is for 127.0.0.1; what the client said first, if it took the certificate.
    fn serve(listener: &TcpListener) -> Option<Vec<u8>> {
        let data = |name: &str| format!("{}/tests/data/tls/{name}", env!("CARGO_MANIFEST_DIR"));
        let certificate = CertificateDer::from_pem_file(data("server.pem")).unwrap();
        let key = PrivateKeyDer::from_pem_file(data("server.key")).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![certificate], key)
            .unwrap();
        let (mut plain, _) = listener.accept().unwrap();
        // SSLRequest of PostgreSQL's protocol, and the answer "yes".
        let mut request = [0; 8];
        plain.read_exact(&mut request).unwrap();
        assert_eq!(request, [0, 0, 0, 8, 4, 210, 22, 47]);
        plain.write_all(b"S").unwrap();
        let mut tls = rustls::ServerConnection::new(Arc::new(config)).unwrap();
        let mut stream = rustls::Stream::new(&mut tls, &mut plain);
        let mut said = vec![0; 1024];
        let length = stream.read(&mut said).ok()?;
        said.truncate(length);
        Some(said)
    }

    /// What the server heard, and how opening the gallery ended.
    fn meet(host: &str, rest: &str) -> (Option<Vec<u8>>, GalleryError) {
        let listener = TcpListener::bind((host, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let address = format!("postgresql://cam:secret@{host}:{port}/faces?sslmode=require{rest}");
        let probe = Embedding::new(&[1.0, 0.0]).unwrap();
        let fingerprint = Fingerprint { model: "m".into(), alignment: "a".into(), probe };
        std::thread::scope(|scope| {
            let server = scope.spawn(|| serve(&listener));
            let location = Location::from(address.as_str());
            let error = Gallery::open(location, &fingerprint, Access::Read).unwrap_err();
            (server.join().unwrap(), error)
        })
    }

    #[test]
    fn certificate_and_name_are_checked_before_anything_is_said() {
        let ca = format!("&sslrootcert={}/tests/data/tls/ca.pem", env!("CARGO_MANIFEST_DIR"));
        let (heard, _) = meet("127.0.0.1", &ca);
        let heard = heard.expect("the certificate is good");
        assert!(heard.windows(9).any(|w| w == b"user\0cam\0"), "{heard:?}");
        // The right certificate for another machine, and one that nobody vouches for.
        let own = format!("&sslrootcert={}/tests/data/tls/server.pem", env!("CARGO_MANIFEST_DIR"));
        for (host, rest) in [("127.0.0.2", &ca), ("127.0.0.1", &own)] {
            let (heard, error) = meet(host, rest);
            assert_eq!(heard, None, "{host}");
            assert!(matches!(error, GalleryError::Refused { .. }), "{error:?}");
            assert!(error.to_string().contains("TLS handshake"), "{error}");
        }
    }
}
