//! What streams and devices share: who listens, and what is known of each device.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use thalweg_core::connector::ConnectionStatus;
use thalweg_core::polled::Poller;
use thalweg_core::time::Clock;

use crate::mqtt::intake::Intake;
use crate::mqtt::lean::{End, Outlet};
use crate::mqtt::routes::{Receiver, Routes};
use crate::mqtt::wire::Remote;

/// Devices that are remembered while they are away; beyond, those away are forgotten.
const REMEMBERED: usize = 10_000;
/// Bytes that halves of packets may take, of all devices together.
pub(super) const BUFFERED: usize = 256 << 20;

/// One per engine.
#[derive(Default)]
pub(super) struct Hub {
    routes: Arc<Routes>,
    ids: AtomicU64,
    /// Lanes given out.
    lanes: AtomicU32,
    devices: Mutex<Devices>,
    /// Bytes in the buffers of all devices.
    pub(super) buffered: Arc<AtomicUsize>,
}

#[derive(Default)]
struct Devices {
    /// Whether there is a port.
    is_open: bool,
    by_name: HashMap<Arc<str>, Device>,
}

/// A device that is or was here.
#[derive(Clone)]
pub(super) struct Device {
    pub(super) intake: Arc<Intake>,
    pub(super) outlet: Arc<Outlet>,
    /// The connection that is open; 0: none.
    pub(super) generation: u64,
}

impl Hub {
    fn lock(&self) -> MutexGuard<'_, Devices> {
        self.devices.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A number for a stream.
    pub(super) fn new_id(&self) -> u64 {
        self.ids.fetch_add(1, Relaxed)
    }

    fn status(is_open: bool) -> ConnectionStatus {
        let why = "the engine has no port for devices; start it with --mqtt-ingest PORT";
        if is_open { ConnectionStatus::Connected } else { ConnectionStatus::Disconnected(Arc::from(why)) }
    }

    /// A stream listens to a filter.
    pub(super) fn listen(&self, filter: &str, receiver: Receiver) {
        let port = Arc::clone(receiver.inbox.port());
        let devices = self.lock();
        self.routes.add(filter, 0, receiver);
        let status = Self::status(devices.is_open);
        drop(devices);
        port.status(status);
    }

    /// It does no more.
    pub(super) fn leave(&self, id: u64) {
        self.routes.remove(id);
    }

    /// There is a port from now on, or none any more.
    pub(super) fn open(&self, is_open: bool) {
        let mut devices = self.lock();
        devices.is_open = is_open;
        let routes = self.routes.now();
        drop(devices);
        for receiver in routes.iter().flat_map(|route| &route.receivers) {
            receiver.inbox.port().status(Self::status(is_open));
        }
    }

    /// The thread of a stream that listens; devices of different lanes are spread over all of them, so that one of a split
    /// stream is read on the thread of its part.
    pub(super) fn poller(&self, lane: u32) -> Option<Arc<dyn Poller>> {
        let routes = self.routes.now();
        let receivers = routes.iter().flat_map(|route| &route.receivers);
        let pollers: Vec<_> = receivers.filter_map(|receiver| receiver.inbox.port().poller()).collect();
        (!pollers.is_empty()).then(|| Arc::clone(&pollers[lane as usize % pollers.len()]))
    }

    /// Takes a device in, and whether it is known. An older connection of it ends when its new one opens.
    pub(super) fn enter(&self, name: &Arc<str>, is_clean: bool, clock: &Arc<dyn Clock>) -> (Device, bool) {
        let mut devices = self.lock();
        if devices.by_name.len() >= REMEMBERED {
            devices.by_name.retain(|_, device| device.generation != 0);
        }
        if let Some(device) = devices.by_name.get(name) {
            return (device.clone(), !is_clean);
        }
        let outlet = Arc::<Outlet>::default();
        let sender =
            name.bytes().fold(1, |hash: u64, byte| hash.wrapping_mul(0x0100_0000_01b3) ^ u64::from(byte));
        let remote = Remote::Lean(Arc::clone(&outlet));
        let intake = Intake::new(Arc::clone(clock), Arc::clone(&self.routes), remote, sender);
        let intake = Arc::new(intake.in_lane(self.lanes.fetch_add(1, Relaxed)));
        let device = Device { intake, outlet, generation: 0 };
        devices.by_name.insert(Arc::clone(name), device.clone());
        (device, false)
    }

    /// Its connection stands.
    pub(super) fn entered(&self, name: &Arc<str>, generation: u64) {
        if let Some(device) = self.lock().by_name.get_mut(name) {
            device.generation = generation;
        }
    }

    /// Its connection has ended; nothing happens when it has another one.
    pub(super) fn left(&self, name: &Arc<str>, generation: u64, is_clean: bool) {
        let mut devices = self.lock();
        let Some(device) = devices.by_name.get_mut(name).filter(|device| device.generation == generation)
        else {
            return;
        };
        device.generation = 0;
        device.intake.closed();
        device.outlet.lost(&Arc::from("the device has left"));
        if is_clean {
            devices.by_name.remove(name);
        }
    }

    /// Ends the connections of devices that wait for answers which nobody will give any more.
    pub(super) fn part_from_waiting(&self) {
        let waits = |device: &&Device| device.generation != 0 && device.intake.waits();
        let devices: Vec<Device> = self.lock().by_name.values().filter(waits).cloned().collect();
        for device in devices {
            let why = "a stream was stopped, the device shall send again what is not answered";
            device.outlet.finish(device.generation, End::Lost(why.to_owned()));
        }
    }
}
