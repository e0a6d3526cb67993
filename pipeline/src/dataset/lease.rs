//! Who adds to an output now: one run works, the others wait or leave instead of doing in vain what it does.
//!
//! ```text
//! OUT/_tamis/lease/<epoch>.json   created only if it is not there, by who works next; the newest one counts
//!     released                 -> whoever comes creates the next epoch
//!     changes                  -> its owner is alive: it rewrites it three times in the time that it promised
//!     unchanged for that time  -> its owner is dead, or as good as that: whoever watched creates the next epoch
//! ```
//!
//! How long a file does not change is measured by the clock of the one who watches, which does not jump; no two clocks are
//! compared. An owner that finds a newer epoch stops. That nothing is lost does not depend on any of this, but on commits
//! that are created only if they are not there: an owner that is taken for dead and is not loses its work at its commit.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use bytes::Bytes;
use tamis_schemas::config::{CommitMode, OutputConfig};
use tamis_schemas::lease::LeaseRecord;
use tamis_schemas::time_span::TimeSpan;

use super::Dataset;
use crate::context::Cancel;
use crate::place::Place;
use crate::{Error, Result};

/// For how long a run may show no sign of life if the config does not say.
const LEASE: TimeSpan = TimeSpan { seconds: 60 };
const LEASES: &str = "_tamis/lease";
/// Signs of life in the time that an owner promises.
const BEATS: u32 = 3;
/// Looks of a watcher in that time.
const LOOKS: u32 = 12;
/// Longest wait until a signal that asks us to stop is noticed.
const NAP: Duration = Duration::from_millis(50);

/// What a run does while another one is adding to the same output.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum IfLocked {
    /// It fails as soon as it knows that the other is alive.
    #[default]
    Fail,
    /// It ends, and that is no error.
    Skip,
    /// It waits for so long, and fails then.
    Wait(Duration),
}

impl IfLocked {
    /// Whether a run that has waited for `waited`, and knows whether the other `is_alive`, has waited enough.
    fn is_over(self, waited: Duration, is_alive: bool) -> bool {
        match self {
            Self::Fail | Self::Skip => is_alive,
            Self::Wait(longest) => longest <= waited,
        }
    }
}

/// How a command gets along with others that add to the same output.
#[derive(Debug, Clone)]
pub struct Sharing {
    /// Who it is, for the people of the others: a process on a machine, since when.
    pub owner: String,
    /// What its logs call the run, if that is not its name.
    pub run_id: Option<String>,
    /// What it does while another is at work.
    pub if_locked: IfLocked,
}

impl Dataset<'_> {
    /// Takes the lease of the output; `None` if it has none.
    pub(crate) fn turn(&self, output: &OutputConfig, sharing: &Sharing, cancel: &Cancel) -> Result<Option<Turn>> {
        let ttl = output.lease.unwrap_or(LEASE).duration();
        if ttl.is_zero() || output.commit == CommitMode::UnsafeSingleWriter {
            return Ok(None);
        }
        let claim = Claim {
            home: &self.home,
            owner: &sharing.owner,
            nonce: &self.stamp.nonce,
            ttl,
            epoch_before: self.epoch(),
            cancel,
        };
        claim.wait(sharing.if_locked).map(Some)
    }
}

/// Who asks for an output.
#[derive(Debug)]
struct Claim<'a> {
    /// The output.
    home: &'a Place,
    /// The run, for the people of others.
    owner: &'a str,
    /// The run, by its own name.
    nonce: &'a str,
    /// The time that it promises to show itself in.
    ttl: Duration,
    /// The newest lease that a run was added under.
    epoch_before: u64,
    cancel: &'a Cancel,
}

/// Whose turn it is.
#[derive(Debug)]
pub(crate) enum Turn {
    Ours(Lease),
    /// That of another, of whom this is known.
    Theirs(String),
}

impl Claim<'_> {
    /// Takes the output as soon as nobody has it, or as whoever has it is dead.
    fn wait(&self, if_locked: IfLocked) -> Result<Turn> {
        let began = Instant::now();
        let mut watched = Watched::default();
        loop {
            let names: Vec<String> = self.home.list(LEASES)?.into_iter().map(|(name, _)| name).collect();
            let newest = names.iter().max_by_key(|name| epoch_of(name));
            let found = newest.map(|name| self.home.get_if_there(name)).transpose()?;
            if let Some(None) = &found {
                // Another has created the next one, and removed this one.
                continue;
            }
            if let Some(Some((bytes, _))) = &found {
                let record = parse(bytes);
                let ttl = record.as_ref().map_or(self.ttl, |record| Duration::from_secs(record.ttl_seconds));
                let is_released = record.as_ref().is_some_and(|record| record.released);
                if !is_released && watched.look(bytes, Instant::now()) < ttl {
                    if if_locked.is_over(began.elapsed(), watched.is_alive) {
                        return Ok(Turn::Theirs(
                            record.map_or_else(|| "nobody knows who".into(), |record| record.owner),
                        ));
                    }
                    self.nap(ttl / LOOKS)?;
                    continue;
                }
                if !is_released {
                    tracing::warn!("a run that held the output shows no sign of life: it is taken over");
                }
            }
            let epoch = newest.map_or(0, |name| epoch_of(name)).max(self.epoch_before) + 1;
            if let Some(lease) = self.take(epoch)? {
                self.home.delete(names.iter().map(String::as_str))?;
                return Ok(Turn::Ours(lease));
            }
            self.cancel.check()?;
        }
    }

    /// `None`: another was faster.
    fn take(&self, epoch: u64) -> Result<Option<Lease>> {
        let record = LeaseRecord {
            epoch,
            owner: self.owner.to_owned(),
            nonce: self.nonce.to_owned(),
            beat: 0,
            ttl_seconds: self.ttl.as_secs(),
            released: false,
        };
        let is_ours = self.home.put_new(&file_name(epoch), &json(&record)?)?;
        is_ours.then(|| Lease::start(self.home.clone(), record, self.cancel.clone())).transpose()
    }

    fn nap(&self, length: Duration) -> Result<()> {
        let began = Instant::now();
        while began.elapsed() < length {
            self.cancel.check()?;
            std::thread::sleep(NAP.min(length));
        }
        self.cancel.check()
    }
}

/// What is seen of an owner.
#[derive(Debug, Default)]
struct Watched {
    last: Option<(Bytes, Instant)>,
    /// Whether what it wrote has changed.
    is_alive: bool,
}

impl Watched {
    /// Sees what an owner wrote; for how long it has been seen unchanged.
    fn look(&mut self, bytes: &Bytes, now: Instant) -> Duration {
        match &self.last {
            Some((last, since)) if last == bytes => now.duration_since(*since),
            last => {
                self.is_alive = last.is_some();
                self.last = Some((bytes.clone(), now));
                Duration::ZERO
            }
        }
    }
}

/// An output that is ours until this is dropped, unless another takes it over.
#[derive(Debug)]
pub(crate) struct Lease {
    home: Place,
    epoch: u64,
    is_lost: Arc<AtomicBool>,
    /// Ends the signs of life when it is dropped.
    stop: Option<Sender<()>>,
    beats: Option<JoinHandle<LeaseRecord>>,
}

impl Lease {
    /// Shows signs of life from here on; stops the run by `cancel` if another has taken the output over.
    fn start(home: Place, record: LeaseRecord, cancel: Cancel) -> Result<Self> {
        let (stop, stopped) = mpsc::channel();
        let (epoch, is_lost) = (record.epoch, Arc::new(AtomicBool::new(false)));
        let beats = {
            let (home, is_lost, mut record) = (home.clone(), Arc::clone(&is_lost), record);
            let pause = Duration::from_secs(record.ttl_seconds) / BEATS;
            move || {
                while stopped.recv_timeout(pause) == Err(RecvTimeoutError::Timeout) {
                    record.beat += 1;
                    match show(&home, &record) {
                        Ok(true) => {}
                        Ok(false) => {
                            is_lost.store(true, Ordering::Relaxed);
                            cancel.cancel();
                            break;
                        }
                        Err(error) => tracing::warn!(%error, "no sign of life could be given"),
                    }
                }
                record
            }
        };
        let thread = std::thread::Builder::new().name("tamis-lease".into()).spawn(beats);
        let beats = thread.map_err(|error| Error::config(format!("could not start a thread: {error}")))?;
        Ok(Self { home, epoch, is_lost, stop: Some(stop), beats: Some(beats) })
    }

    /// Its ordinal.
    pub(crate) fn epoch(&self) -> u64 {
        self.epoch
    }

    /// Whether another has taken the output over, as far as is known.
    pub(crate) fn is_lost(&self) -> bool {
        self.is_lost.load(Ordering::Relaxed)
    }

    /// Looks whether it still holds, where `epoch` is the newest that a run was added under.
    ///
    /// # Errors
    /// `Error::TakenOver` if it does not.
    pub(crate) fn check(&self, epoch: u64) -> Result<()> {
        if self.is_lost() || self.epoch < epoch.max(newest(&self.home)?) {
            return Err(self.taken_over());
        }
        Ok(())
    }

    /// The error of one that is lost.
    pub(crate) fn taken_over(&self) -> Error {
        Error::TakenOver { location: self.home.url().to_owned() }
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        drop(self.stop.take());
        let Some(Ok(mut record)) = self.beats.take().map(JoinHandle::join) else { return };
        if self.is_lost() {
            return;
        }
        record.beat += 1;
        record.released = true;
        // If nobody learns of it, they wait until we seem dead.
        let released = json(&record).and_then(|json| self.home.put(&file_name(record.epoch), json.into()));
        if let Err(error) = released {
            tracing::warn!(%error, "the output could not be released");
        }
    }
}

/// Gives a sign of life. `false`: another has taken over.
fn show(home: &Place, record: &LeaseRecord) -> Result<bool> {
    if record.epoch < newest(home)? {
        return Ok(false);
    }
    home.put(&file_name(record.epoch), json(record)?.into())?;
    Ok(true)
}

/// The newest lease, 0 if there is none.
fn newest(home: &Place) -> Result<u64> {
    Ok(home.list(LEASES)?.iter().map(|(name, _)| epoch_of(name)).max().unwrap_or_default())
}

/// Who has not given the output at `home` back, dead or alive.
pub(crate) fn holder(home: &Place) -> Result<Option<String>> {
    let names = home.list(LEASES)?;
    let Some((newest, _)) = names.iter().max_by_key(|(name, _)| epoch_of(name)) else { return Ok(None) };
    let record = home.get_if_there(newest)?.and_then(|(bytes, _)| parse(&bytes));
    Ok(record.filter(|record| !record.released).map(|record| record.owner))
}

fn json(record: &LeaseRecord) -> Result<Bytes> {
    let json = serde_json::to_vec(record).map_err(|error| Error::Invariant(format!("a lease is not JSON: {error}")))?;
    Ok(json.into())
}

/// `None` for what nobody of ours wrote: it holds as long as it changes.
fn parse(bytes: &[u8]) -> Option<LeaseRecord> {
    serde_json::from_slice(bytes).ok()
}

fn file_name(epoch: u64) -> String {
    format!("{LEASES}/{epoch:020}.json")
}

fn epoch_of(name: &str) -> u64 {
    let epoch = name.rsplit('/').next().and_then(|name| name.strip_suffix(".json")?.parse().ok());
    epoch.unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Careless;

    #[test]
    fn an_owner_is_dead_if_it_was_seen_unchanged_for_long() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut watched = Watched::default();
        let mut look =
            |bytes: &'static str, seconds| (watched.look(&Bytes::from(bytes), at(seconds)).as_secs(), watched.is_alive);
        assert_eq!(look("a", 100), (0, false), "what was before is not known");
        assert_eq!(look("a", 130), (30, false));
        assert_eq!(look("b", 131), (0, true));
        assert_eq!(look("b", 191), (60, true));
        let check = |if_locked: IfLocked, waited, is_alive, expect| {
            assert_eq!(if_locked.is_over(Duration::from_secs(waited), is_alive), expect, "{if_locked:?} {waited}");
        };
        for soon in [IfLocked::Fail, IfLocked::Skip] {
            check(soon, 1000, false, false);
            check(soon, 0, true, true);
        }
        let wait = IfLocked::Wait(Duration::from_mins(1));
        check(wait, 59, true, false);
        check(wait, 60, false, true);
        check(IfLocked::Wait(Duration::ZERO), 0, false, true);
    }

    #[test]
    fn one_at_a_time_and_the_dead_are_taken_over() {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let home = Place::in_store(Arc::new(Careless::new(|_| false)), runtime.handle().clone());
        let cancel = [Cancel::default(), Cancel::default()];
        let claim = |who: usize, ttl: u64, epoch_before: u64| Claim {
            home: &home,
            owner: ["first", "second"][who],
            nonce: ["1", "2"][who],
            ttl: Duration::from_secs(ttl),
            epoch_before,
            cancel: &cancel[who],
        };
        let take = |claim: Claim<'_>, if_locked| match claim.wait(if_locked).unwrap() {
            Turn::Ours(lease) => Ok(lease),
            Turn::Theirs(holder) => Err(holder),
        };
        let names = || home.list(LEASES).unwrap().into_iter().map(|(name, _)| epoch_of(&name)).collect::<Vec<_>>();

        let first = take(claim(0, 1, 0), IfLocked::Fail).unwrap();
        assert_eq!((first.epoch(), names()), (1, vec![1]));
        // It shows itself three times a second.
        assert_eq!(take(claim(1, 1, 0), IfLocked::Fail).unwrap_err(), "first");
        assert_eq!(take(claim(1, 1, 0), IfLocked::Wait(Duration::from_millis(1500))).unwrap_err(), "first");
        drop(first);
        let second = take(claim(1, 1, 0), IfLocked::Fail).unwrap();
        assert_eq!((second.epoch(), names()), (2, vec![2]), "what is over is removed");
        drop(second);
        // The files of leases were removed by somebody, but a run was added under the seventh.
        home.delete([file_name(2).as_str()]).unwrap();
        let seventh = take(claim(0, 1000, 7), IfLocked::Fail).unwrap();
        assert_eq!((seventh.epoch(), seventh.check(7).is_ok(), seventh.check(9).is_err()), (8, true, true));

        // It is dead: it promised a sign within a second, and gives one in 1000 only.
        let record =
            LeaseRecord { ttl_seconds: 1, ..parse(&home.get_if_there(&file_name(8)).unwrap().unwrap().0).unwrap() };
        home.put(&file_name(8), json(&record).unwrap().into()).unwrap();
        let ninth = take(claim(1, 1, 0), IfLocked::Fail).unwrap();
        assert_eq!(ninth.epoch(), 9);
        assert!(matches!(seventh.check(0), Err(Error::TakenOver { .. })));
        drop(seventh);
        ninth.check(0).unwrap();

        // Whoever finds itself taken over stops.
        home.put(&file_name(10), b"not one of ours".to_vec()).unwrap();
        while !ninth.is_lost() {
            std::thread::yield_now();
        }
        assert!(cancel[1].is_cancelled() && !cancel[0].is_cancelled());
        drop(ninth);
        let took = Instant::now();
        let last = take(claim(0, 1, 0), IfLocked::Fail).unwrap();
        assert!(last.epoch() == 11 && Duration::from_secs(1) <= took.elapsed(), "{}", last.epoch());
    }
}
