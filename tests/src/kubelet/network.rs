//! A network of its own for each pod: a bridge on this machine, and a pair of interfaces from it into each pod.

use std::io::Write;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Mutex, PoisonError};

use anyhow::{Context, Result, ensure};

use crate::janitor::Janitor;

/// A bridge with the network 10.213.N.0/24. Those of this machine itself are not looked at: nothing known uses that range.
pub(super) struct Network {
    number: u8,
    taken: Mutex<[bool; 256]>,
    last: AtomicU8,
    ip: PathBuf,
    #[expect(dead_code, reason = "it removes the bridge when this is dropped")]
    janitor: Janitor,
}

impl Network {
    /// Makes one with the first number that nobody has; the kernel refuses a second bridge of one name.
    ///
    /// # Panics
    /// When this machine lets no bridge be made.
    pub(super) fn new() -> Self {
        let ip = ["/usr/sbin/ip", "/sbin/ip", "/usr/bin/ip"].map(PathBuf::from);
        let ip = ip.into_iter().find(|path| path.exists());
        let ip = ip.expect("ip is not installed: install the package iproute2");
        let mut refused = String::new();
        for number in 1..=250 {
            let name = bridge(number);
            // Its own hardware address: else it has that of one of its ports, and another when a pod goes, and all pods
            // lose it for as long as they remember the old one.
            let hardware = hardware(number, 1);
            match run(
                Command::new(&ip)
                    .args(["link", "add", &name, "address", &hardware, "type", "bridge"]),
                "",
            ) {
                Ok(()) => {}
                Err(error) if error.to_string().contains("File exists") => {
                    refused = error.to_string();
                    continue;
                }
                Err(error) => {
                    panic!("pods need networks of their own, and root may make them: {error:#}")
                }
            }
            let janitor = Janitor::running(CLEAN, &[&name, text(&ip), &port(number, 0)]);
            let commands =
                format!("addr add 10.213.{number}.1/24 dev {name}\nlink set {name} up\n");
            run(Command::new(&ip).args(["-batch", "-"]), &commands)
                .expect("a bridge takes an address");
            let mut taken = [false; 256];
            for reserved in [0, 1, 255] {
                taken[reserved] = true;
            }
            let taken = Mutex::new(taken);
            return Self {
                number,
                taken,
                last: AtomicU8::new(1),
                ip,
                janitor,
            };
        }
        panic!("250 test networks are there already, from runs that were killed? {refused}");
    }

    /// This machine's own address in it, by which pods reach what listens there.
    pub(super) fn host(&self) -> Ipv4Addr {
        Ipv4Addr::new(10, 213, self.number, 1)
    }

    /// Gives the network namespace of a process an address.
    pub(super) fn join(&self, process: u32) -> Result<Ipv4Addr> {
        let address = self.take()?;
        self.connect(process, address)
            .inspect_err(|_| self.leave(address))?;
        Ok(address)
    }

    fn connect(&self, process: u32, address: Ipv4Addr) -> Result<()> {
        let last = address.octets()[3];
        let (bridge, outside) = (bridge(self.number), port(self.number, last));
        // One hardware address for ever: others may remember that of the last pod that had the address.
        let hardware = hardware(self.number, last);
        let pair = format!(
            "link add {outside} type veth peer name eth0 address {hardware} netns {process}\nlink set {outside} master {bridge} up\n"
        );
        run(Command::new(&self.ip).args(["-batch", "-"]), &pair)?;
        let inside = format!(
            "addr add {address}/24 dev eth0\nlink set lo up\nlink set eth0 up\nroute add default via {}\n",
            self.host()
        );
        let mut enter = Command::new("/usr/bin/nsenter");
        enter.args(["--target", &process.to_string(), "--net", "--"]);
        run(enter.arg(&self.ip).args(["-batch", "-"]), &inside)
    }

    /// Takes an address back, with its interfaces: connections that a killed pod left would keep them for minutes.
    pub(super) fn leave(&self, address: Ipv4Addr) {
        let port = port(self.number, address.octets()[3]);
        // They may be gone already.
        let _ = run(Command::new(&self.ip).args(["link", "delete", &port]), "");
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        taken[usize::from(address.octets()[3])] = false;
    }

    fn take(&self) -> Result<Ipv4Addr> {
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        // The next one rather than the first: whoever still believes in a pod that is gone is not led to another.
        let last = self.last.load(Ordering::Relaxed);
        let after = (1..=255_u8).map(|step| last.wrapping_add(step));
        let mut free = after.filter(|&one| !taken[usize::from(one)]);
        let free = free.next().context("a node has addresses for 253 pods")?;
        taken[usize::from(free)] = true;
        self.last.store(free, Ordering::Relaxed);
        Ok(Ipv4Addr::new(10, 213, self.number, free))
    }
}

/// Removes a bridge and the interfaces on it: the bridge, `ip`, and the name of an interface that nobody has.
const CLEAN: &str = "for at in \"/sys/class/net/${2%0}\"*; do \"$1\" link delete \"${at##*/}\"; done; \"$1\" link delete \"$0\"";

fn port(number: u8, last: u8) -> String {
    format!("cel{number}-{last}")
}

fn bridge(number: u8) -> String {
    format!("celeriac{number}")
}

fn hardware(number: u8, last: u8) -> String {
    format!("02:ce:1e:00:{number:02x}:{last:02x}")
}

fn text(path: &Path) -> &str {
    path.to_str().expect("it is one of those named above")
}

fn run(command: &mut Command, input: &str) -> Result<()> {
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()?;
    let mut stdin = child.stdin.take().context("it was piped")?;
    // It may end without reading; its status tells.
    let _ = stdin.write_all(input.as_bytes());
    drop(stdin);
    let output = child.wait_with_output()?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{command:?}: {}", said.trim());
    Ok(())
}
