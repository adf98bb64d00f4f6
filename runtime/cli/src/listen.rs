use std::io::ErrorKind;
use std::net::{IpAddr, SocketAddr};

use anyhow::{Context as _, bail};
use tokio::net::{TcpListener, TcpSocket};

use crate::start_over;

/// Where `dev` listens when nobody says otherwise.
pub(crate) const DEFAULT_PORT: u16 = 8788;

/// How many ports after a taken default are tried.
const PORTS_TRIED: u16 = 20;

/// The port to listen on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Port {
    /// This one or none: it was asked for.
    Exactly(u16),
    /// The first free one from here.
    FirstFreeFrom(u16),
}

/// The address that an argument names.
pub(crate) fn address(text: &str) -> Result<IpAddr, String> {
    aerostack_config::listen_address(text)
        .ok_or_else(|| "not an IP address, localhost, or * for all addresses of this machine".to_owned())
}

/// A bound listener, and whether it is where it was meant to be.
pub(crate) struct Bound {
    pub(crate) listener: TcpListener,
    pub(crate) address: SocketAddr,
    /// The default port, when another program has it.
    pub(crate) taken: Option<u16>,
}

/// Binds; says which program to look for when the port is taken.
pub(crate) fn bind(ip: IpAddr, port: Port) -> anyhow::Result<Bound> {
    if let Some(listener) = start_over::inherited_listener(ip, port)? {
        let address = listener.local_addr().context("the listener has no address")?;
        return Ok(Bound { listener, address, taken: None });
    }
    bind_anew(ip, port)
}

/// The same for a process that has asked for the listener it was handed already.
pub(crate) fn bind_anew(ip: IpAddr, port: Port) -> anyhow::Result<Bound> {
    let (first, tries) = match port {
        Port::Exactly(port) => (port, 1),
        Port::FirstFreeFrom(port) => (port, PORTS_TRIED),
    };
    for candidate in (first..=u16::MAX).take(usize::from(tries)) {
        match listen(SocketAddr::new(ip, candidate)) {
            Ok(listener) => {
                let address = listener.local_addr().context("the listener has no address")?;
                return Ok(Bound { listener, address, taken: (candidate != first).then_some(first) });
            }
            Err(error) if error.kind() == ErrorKind::AddrInUse => {}
            Err(error) => return Err(error).with_context(|| format!("cannot listen on {ip}:{candidate}")),
        }
    }
    match port {
        Port::Exactly(port) => bail!(
            "port {port} on {ip} is in use by another program\nhint: stop it (`lsof -i :{port}` names it), or choose another with --port"
        ),
        Port::FirstFreeFrom(port) => bail!("ports {port} to {} on {ip} are all in use", port + PORTS_TRIED - 1),
    }
}

fn listen(address: SocketAddr) -> std::io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    // A restart must not wait for the last run's connections to be forgotten.
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(1024)
}
