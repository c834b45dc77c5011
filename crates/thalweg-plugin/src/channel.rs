//! The seam between plugins and the wire: the three roles [`Rep`], [`Pull`] and [`Push`].
//!
//! They come from `thalweg-sp`, or with the cargo feature `nng` from nng's own library in the shape of `thalweg-sp`.

pub(crate) use thalweg_sp::{
    Deadline, ExchangeError, Limits, Options, PeerCheck, PullEvent, Stopwatch, Timing, remove_stale,
    socket_path_fits,
};
#[cfg(not(feature = "nng"))]
pub(crate) use thalweg_sp::{Pull, Push, Rep};

#[cfg(feature = "nng")]
mod nng;
#[cfg(feature = "nng")]
pub(crate) use self::nng::{Pull, Push, Rep};
