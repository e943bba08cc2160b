//! Random histories with crashes in the middle, against a model that only knows the promises.
//!
//! Three tasks, each with a directory of its own, write, cut, sync, rename and remove; the process
//! is killed or the power cut at any moment; what is found then must be what the model allows.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use runtime::{Disk, File, OpenMode, RandomStream, Runtime, spawn, write_all_at};

use super::Machine;
use crate::disk::profile::below;
use crate::disk::{Op, PathFilter};

const DIRECTORIES: [&str; 3] = ["/a", "/b", "/c"];
const NAMES: [&str; 4] = ["one", "two", "three", "four"];
const HEADER: usize = 8;

/// Which file each name stands for.
type Names = BTreeMap<&'static str, u32>;

#[derive(Clone, Debug, Default)]
struct FileModel {
    content: Vec<u8>,
    synced: Vec<u8>,
    /// Positions changed since the last sync began.
    touched: Vec<bool>,
    /// The shortest since the last sync.
    len_min: usize,
    len_max: usize,
    /// All values that a position ever had.
    values: Vec<[u64; 4]>,
    has_header: bool,
}

#[derive(Clone, Debug, Default)]
enum Intent {
    #[default]
    Nothing,
    Write(u32, usize, Vec<u8>),
    SetLen(u32, usize),
    Names(Names),
}

#[derive(Debug)]
struct Model {
    files: BTreeMap<u32, FileModel>,
    /// The names since the last sync of the directory, which covered the first.
    states: Vec<Names>,
    intent: Intent,
    next: u32,
}

fn header(id: u32) -> [u8; HEADER] {
    let [a, b, c, d] = id.to_le_bytes();
    [0xf1, 0xf2, a, b, c, d, 0xf3, 0xf4]
}

fn id_of(content: &[u8]) -> Option<u32> {
    match content.get(..HEADER)? {
        [0xf1, 0xf2, a, b, c, d, 0xf3, 0xf4] => Some(u32::from_le_bytes([*a, *b, *c, *d])),
        _ => None,
    }
}

impl FileModel {
    fn write(&mut self, position: usize, bytes: &[u8]) {
        self.note(position, bytes);
        let end = position + bytes.len();
        if self.content.len() < end {
            self.content.resize(end, 0);
        }
        self.content[position..end].copy_from_slice(bytes);
    }

    fn set_len(&mut self, len: usize) {
        self.content.resize(len, 0);
        self.note_len(len);
    }

    /// Something may be written there.
    fn note(&mut self, position: usize, bytes: &[u8]) {
        let end = position + bytes.len();
        self.touched.resize(self.touched.len().max(end), false);
        self.values.resize(self.values.len().max(end), [0; 4]);
        self.touched[position..end].fill(true);
        for (values, byte) in self.values[position..end].iter_mut().zip(bytes) {
            values[usize::from(byte / 64)] |= 1 << (byte % 64);
        }
        self.len_max = self.len_max.max(end);
    }

    fn note_len(&mut self, len: usize) {
        self.len_min = self.len_min.min(len);
        self.len_max = self.len_max.max(len);
    }

    fn sync(&mut self) {
        self.synced.clone_from(&self.content);
        self.touched.clear();
        self.len_min = self.content.len();
        self.has_header = id_of(&self.synced).is_some();
    }

    fn check_after_power_loss(&self, found: &[u8]) {
        let kept = self.synced.len().min(self.len_min);
        assert!(kept <= found.len(), "{} bytes of {kept} synced ones", found.len());
        assert!(found.len() <= self.len_max, "longer than ever");
        for (at, byte) in found.iter().enumerate() {
            if at < kept && !self.touched.get(at).is_some_and(|is_touched| *is_touched) {
                assert_eq!(*byte, self.synced[at], "synced byte {at} of {}", self.synced.len());
            }
            let values = self.values.get(at).copied().unwrap_or_default();
            let was_written = values[usize::from(byte / 64)] & (1 << (byte % 64)) != 0;
            assert!(*byte == 0 || was_written, "byte {at} out of thin air");
        }
    }
}

impl Model {
    fn new() -> Model {
        let states = vec![Names::new()];
        Model { files: BTreeMap::new(), states, intent: Intent::Nothing, next: 1 }
    }

    fn names(&self) -> &Names {
        self.states.last().unwrap()
    }

    fn possible_states(&self) -> Vec<Names> {
        let mut states = self.states.clone();
        if let Intent::Names(names) = &self.intent {
            states.push(names.clone());
        }
        states
    }

    fn note_intent(&mut self) {
        match self.intent.clone() {
            Intent::Write(id, position, bytes) => {
                self.files.get_mut(&id).unwrap().note(position, &bytes);
            }
            Intent::SetLen(id, len) => self.files.get_mut(&id).unwrap().note_len(len),
            _ => {}
        }
    }

    fn check_after_power_loss(&self, found: &BTreeMap<&'static str, Vec<u8>>) {
        let states = self.possible_states();
        let mut seen = BTreeSet::new();
        for name in NAMES {
            let could_be: BTreeSet<Option<u32>> =
                states.iter().map(|names| names.get(name).copied()).collect();
            let Some(content) = found.get(name) else {
                assert!(could_be.contains(&None), "{name} is gone, was {could_be:?}");
                continue;
            };
            match id_of(content) {
                Some(id) => {
                    assert!(could_be.contains(&Some(id)), "{name} is {id}, was {could_be:?}");
                    assert!(seen.insert(id), "{id} has two names");
                    self.files[&id].check_after_power_loss(content);
                }
                None => {
                    let fits = |id: &u32| !self.files[id].has_header;
                    assert!(could_be.iter().flatten().any(fits), "{name} lost its header");
                }
            }
        }
        for (id, file) in &self.files {
            let is_named_always =
                states.iter().all(|names| names.values().any(|named| named == id));
            if is_named_always && file.has_header {
                assert!(seen.contains(id), "file {id} was never removed and is gone: {states:?}");
            }
        }
    }

    fn check_after_kill(&self, found: &BTreeMap<&'static str, Vec<u8>>) {
        let allowed = |names: &Names| names.keys().eq(found.keys());
        let states = self.possible_states();
        let last = states.len().saturating_sub(2);
        let now = if matches!(self.intent, Intent::Names(_)) {
            &states[last..]
        } else {
            &states[states.len() - 1..]
        };
        let matching: Vec<&Names> = now.iter().filter(|names| allowed(names)).collect();
        assert!(!matching.is_empty(), "{:?} instead of {now:?}", found.keys());
        let is_right = |names: &&&Names| {
            names.iter().all(|(name, id)| self.allows_after_kill(*id, &found[name]))
        };
        assert!(matching.iter().any(|names| is_right(&names)), "the content of a file is wrong");
    }

    fn allows_after_kill(&self, id: u32, found: &[u8]) -> bool {
        let Some(file) = self.files.get(&id) else { return found.is_empty() };
        if file.content == found {
            return true;
        }
        match &self.intent {
            Intent::SetLen(cut, len) if *cut == id => {
                let mut file = file.clone();
                file.set_len(*len);
                file.content == found
            }
            Intent::Write(written, position, bytes) if *written == id => {
                (1..=bytes.len()).rev().any(|count| {
                    let (start, end) = (*position, position + count);
                    let is_len_right = found.len() == end.max(file.content.len());
                    is_len_right && found[start..end] == bytes[..count] && {
                        let mut file = file.clone();
                        file.write(start, &bytes[..count]);
                        file.content == found
                    }
                })
            }
            _ => false,
        }
    }

    /// Goes on from what was found.
    fn adopt(&mut self, found: &BTreeMap<&'static str, Vec<u8>>, is_durable: bool) {
        let mut names = Names::new();
        for (name, content) in found {
            let was =
                self.possible_states().iter().rev().find_map(|names| names.get(name).copied());
            let id = id_of(content).or(was.filter(|_| !is_durable)).unwrap_or_else(|| {
                self.next += 1;
                self.next
            });
            let file = self.files.entry(id).or_default();
            file.note(0, content);
            file.content.clone_from(content);
            if is_durable {
                file.sync();
            }
            names.insert(name, id);
        }
        if is_durable {
            self.states.clear();
        }
        self.states.push(names);
        self.intent = Intent::Nothing;
    }
}

/// One task: random operations, each announced to the model before and applied to it after.
struct Worker {
    disk: Arc<dyn Disk>,
    directory: &'static str,
    model: Arc<Mutex<Model>>,
    draws: RandomStream,
    open: BTreeMap<u32, Arc<dyn File>>,
}

impl Worker {
    fn path(&self, name: &str) -> PathBuf {
        Path::new(self.directory).join(name)
    }

    fn draw(&mut self, count: usize) -> usize {
        below(&mut self.draws, count as u64) as usize
    }

    fn intend(&self, intent: Intent) {
        self.model.lock().unwrap().intent = intent;
    }

    fn done(&self, apply: impl FnOnce(&mut Model)) {
        let mut model = self.model.lock().unwrap();
        apply(&mut model);
        model.intent = Intent::Nothing;
    }

    async fn run(mut self) {
        loop {
            let name = NAMES[self.draw(NAMES.len())];
            let named = self.model.lock().unwrap().names().get(name).copied();
            match (named, self.draw(10)) {
                (None, _) => self.create(name).await,
                (Some(id), 0..4) => self.write(name, id).await,
                (Some(id), 4) => self.cut(name, id).await,
                (Some(id), 5 | 6) => self.sync(name, id).await,
                (Some(_), 7) => self.sync_dir().await,
                (Some(id), 8) => self.rename(name, id).await,
                (Some(_), _) => self.remove(name).await,
            }
        }
    }

    async fn file(&mut self, name: &str, id: u32) -> Arc<dyn File> {
        if !self.open.contains_key(&id) {
            let file = self.disk.open(&self.path(name), OpenMode::ReadWrite).await.unwrap();
            self.open.insert(id, file);
        }
        Arc::clone(&self.open[&id])
    }

    async fn create(&mut self, name: &'static str) {
        let (id, names) = {
            let mut model = self.model.lock().unwrap();
            model.next += 1;
            let mut names = model.names().clone();
            names.insert(name, model.next);
            let next = model.next;
            model.files.insert(next, FileModel::default());
            (next, names)
        };
        self.intend(Intent::Names(names.clone()));
        let file = self.disk.open(&self.path(name), OpenMode::CreateNew).await.unwrap();
        self.done(|model| model.states.push(names));
        self.open.insert(id, Arc::clone(&file));
        self.intend(Intent::Write(id, 0, header(id).to_vec()));
        write_all_at(&*file, 0, &[Bytes::copy_from_slice(&header(id))]).await.unwrap();
        self.done(|model| model.files.get_mut(&id).unwrap().write(0, &header(id)));
        self.sync(name, id).await;
    }

    async fn write(&mut self, name: &'static str, id: u32) {
        let file = self.file(name, id).await;
        let end = self.model.lock().unwrap().files[&id].content.len().max(HEADER);
        let position = match self.draw(3) {
            0 => HEADER + self.draw(12_000),
            _ => end,
        };
        let (first, len) = (self.draw(255), 1 + self.draw(3_000));
        let bytes: Vec<u8> = (0..len).map(|at| ((first + at) % 255) as u8 + 1).collect();
        self.intend(Intent::Write(id, position, bytes.clone()));
        let count = file.write_at(position as u64, &[bytes.clone().into()]).await.unwrap();
        self.done(|model| model.files.get_mut(&id).unwrap().write(position, &bytes[..count]));
    }

    async fn cut(&mut self, name: &'static str, id: u32) {
        let file = self.file(name, id).await;
        let len = HEADER + self.draw(12_000);
        self.intend(Intent::SetLen(id, len));
        file.set_len(len as u64).await.unwrap();
        self.done(|model| model.files.get_mut(&id).unwrap().set_len(len));
    }

    async fn sync(&mut self, name: &'static str, id: u32) {
        let file = self.file(name, id).await;
        file.sync_data().await.unwrap();
        self.done(|model| model.files.get_mut(&id).unwrap().sync());
    }

    async fn sync_dir(&mut self) {
        self.disk.sync_dir(Path::new(self.directory)).await.unwrap();
        self.done(|model| drop(model.states.drain(..model.states.len() - 1)));
    }

    async fn rename(&mut self, name: &'static str, id: u32) {
        let to = NAMES[self.draw(NAMES.len())];
        let mut names = self.model.lock().unwrap().names().clone();
        names.remove(name);
        names.insert(to, id);
        self.intend(Intent::Names(names.clone()));
        self.disk.rename(&self.path(name), &self.path(to)).await.unwrap();
        self.done(|model| model.states.push(names));
    }

    async fn remove(&mut self, name: &'static str) {
        let mut names = self.model.lock().unwrap().names().clone();
        names.remove(name);
        self.intend(Intent::Names(names.clone()));
        self.disk.remove_file(&self.path(name)).await.unwrap();
        self.done(|model| model.states.push(names));
    }
}

fn start(machine: &Machine, models: &[Arc<Mutex<Model>>], round: u64) -> Runtime {
    let runtime = machine.runtime(machine.world.start_process(machine.node));
    for ((model, directory), number) in models.iter().zip(DIRECTORIES).zip(0..) {
        let worker = Worker {
            disk: Arc::clone(&runtime.disk),
            directory,
            model: Arc::clone(model),
            draws: machine.world.rng("worker", round * 100 + number),
            open: BTreeMap::new(),
        };
        spawn(&runtime, "worker", worker.run());
    }
    runtime
}

fn found_in(machine: &Machine, directory: &str) -> BTreeMap<&'static str, Vec<u8>> {
    let content = |name: &'static str| {
        let path = Path::new(directory).join(name);
        Some((name, machine.disk.cached(path)?))
    };
    NAMES.into_iter().filter_map(content).collect()
}

/// Ends the process one way or another; whether the power was lost.
fn crash(machine: &Machine, draws: &mut RandomStream) -> bool {
    let process = machine.world.process(machine.node).unwrap();
    let is_power_loss = below(draws, 2) == 0;
    if below(draws, 2) == 0 {
        machine.disk.process_ended(process);
        machine.world.end_process(machine.node);
    } else {
        machine.world.end_process(machine.node);
        machine.disk.process_ended(process);
    }
    if is_power_loss {
        machine.disk.power_lost();
        for (path, _) in machine.disk.files() {
            assert_eq!(machine.disk.cached(&*path), machine.disk.durable(&*path), "{path}");
        }
    }
    is_power_loss
}

fn run_history(seed: u64, rounds: u64) -> u128 {
    let machine = Machine::new(seed);
    let inner = machine.clone();
    machine.run(async move {
        let machine = inner;
        let disk = machine.mount();
        for directory in DIRECTORIES {
            disk.create_dir_all(Path::new(directory)).await.unwrap();
        }
        machine.disk.settle();
        let models: Vec<Arc<Mutex<Model>>> =
            DIRECTORIES.iter().map(|_| Arc::new(Mutex::new(Model::new()))).collect();
        let mut draws = machine.world.rng("crash", 0);
        for round in 0..rounds {
            drop(start(&machine, &models, round));
            machine.sleep_micros(below(&mut draws, 30_000)).await;
            let is_power_loss = crash(&machine, &mut draws);
            for (model, directory) in models.iter().zip(DIRECTORIES) {
                let mut model = model.lock().unwrap();
                model.note_intent();
                let found = found_in(&machine, directory);
                match is_power_loss {
                    true => model.check_after_power_loss(&found),
                    false => model.check_after_kill(&found),
                }
                model.adopt(&found, is_power_loss);
            }
        }
    });
    machine.trace_hash()
}

#[test]
fn crashes_keep_what_was_promised() {
    for seed in 0..60 {
        run_history(seed, 6);
    }
}

#[test]
fn histories_repeat() {
    for seed in 0..5 {
        assert_eq!(run_history(seed, 3), run_history(seed, 3));
    }
}

#[test]
fn a_fault_that_does_not_strike_changes_nothing() {
    let run = |is_asked_for: bool| {
        let machine = Machine::new(5);
        let inner = machine.clone();
        machine.run(async move {
            if is_asked_for {
                inner.disk.fail_next(Op::Sync, PathFilter::Is("/nowhere".to_owned()), 1);
                inner.disk.misdirect_next_read(PathFilter::Suffix(".nothing".to_owned()));
            }
            let disk = inner.mount();
            let file = super::put(&*disk, "/file", b"some bytes").await;
            file.sync_data().await.unwrap();
            inner.disk.power_lost();
        });
        machine.trace_hash()
    };
    assert_eq!(run(true), run(false));
}
