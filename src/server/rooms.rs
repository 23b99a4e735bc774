//! The clients of a namespace, and their rooms.

use crate::error::Error;
use crate::manager::{BroadcastTarget, check_room};
use crate::util::sync::RwLock;
use slab::Slab;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

/// The clients of one namespace that are here, and their rooms.
///
/// A client has a number, and rooms are sets of numbers: what an operation costs depends on whom it
/// addresses, not on who else is there.
#[derive(Debug)]
pub(crate) struct RoomIndex<M> {
    state: RwLock<RoomTables<M>>,
}

#[derive(Debug)]
struct RoomTables<M> {
    members: Slab<Member<M>>,
    by_sid: HashMap<Arc<str>, u32>,
    rooms: HashMap<Arc<str>, HashSet<u32>>,
}

#[derive(Debug)]
struct Member<M> {
    client: M,
    /// True if broadcasts to everybody include it: its connect handler has accepted.
    admitted: bool,
    /// Rooms that it has entered. Boxed, since most clients are in none.
    #[allow(
        clippy::box_collection,
        reason = "a set is six times as large as a box"
    )]
    rooms: Option<Box<HashSet<Arc<str>>>>,
}

impl<M: Clone> RoomIndex<M> {
    pub(crate) fn new() -> RoomIndex<M> {
        RoomIndex {
            state: RwLock::new(RoomTables {
                members: Slab::new(),
                by_sid: HashMap::new(),
                rooms: HashMap::new(),
            }),
        }
    }

    /// Takes a client in, alone in its own room.
    pub(crate) fn insert(&self, sid: Arc<str>, client: M) {
        let mut state = self.state.write();
        // A client of Socket.IO 4 that joins again has the id that it had, and the one before may still
        // have to be forgotten.
        let before = state.forget(&sid);
        let index = state.members.insert(Member {
            client,
            admitted: false,
            rooms: None,
        });
        state.by_sid.insert(sid, index as u32);
        drop(state);
        drop(before);
    }

    /// Includes a client in broadcasts to everybody.
    pub(crate) fn admit(&self, sid: &str) {
        let mut state = self.state.write();
        if let Some(member) = state.find_mut(sid) {
            member.admitted = true;
        }
    }

    /// Forgets a client and its rooms, unless another one has its id now.
    pub(crate) fn remove(&self, sid: &str, client: &M)
    where
        M: PartialEq,
    {
        let mut state = self.state.write();
        let index = state.by_sid.get(sid).map(|index| *index as usize);
        if index.is_some_and(|index| state.members[index].client == *client) {
            let forgotten = state.forget(sid);
            drop(state);
            drop(forgotten);
        }
    }

    pub(crate) fn find(&self, sid: &str) -> Option<M> {
        let state = self.state.read();
        let index = state.by_sid.get(sid)?;
        Some(state.members[*index as usize].client.clone())
    }

    /// Adds a client to a room; returns whether it was not in it.
    pub(crate) fn enter(&self, sid: &str, room: &str) -> Result<bool, Error> {
        let mut state = self.state.write();
        let Some(index) = state.by_sid.get(sid).copied() else {
            return Err(Error::Disconnected);
        };
        if room == sid {
            return Ok(false);
        }
        check_room(sid, room)?;
        if state.by_sid.contains_key(room) {
            return Err(Error::InvalidArgument(
                "a client's own room cannot be entered by others".into(),
            ));
        }
        let name = match state.rooms.get_key_value(room) {
            Some((name, _)) => Arc::clone(name),
            None => Arc::from(room),
        };
        let members = state.rooms.entry(Arc::clone(&name)).or_default();
        let is_new = members.insert(index);
        if is_new {
            let rooms = &mut state.members[index as usize].rooms;
            rooms.get_or_insert_default().insert(name);
        }
        Ok(is_new)
    }

    /// Removes a client from a room; returns whether it was in it.
    pub(crate) fn leave(&self, sid: &str, room: &str) -> Result<bool, Error> {
        if room == sid {
            return Err(Error::InvalidArgument(
                "a client cannot leave its own room".into(),
            ));
        }
        let mut state = self.state.write();
        let Some(index) = state.by_sid.get(sid).copied() else {
            return Ok(false);
        };
        state.remove_from(room, index);
        Ok(state.members[index as usize].leave(room))
    }

    pub(crate) fn close(&self, room: &str) -> Result<(), Error> {
        let mut state = self.state.write();
        if state.by_sid.contains_key(room) {
            return Err(Error::InvalidArgument(
                "a client's own room cannot be closed".into(),
            ));
        }
        for index in state.rooms.remove(room).unwrap_or_default() {
            state.members[index as usize].leave(room);
        }
        Ok(())
    }

    /// Returns the rooms of a client, its own first; none if it is not here.
    pub(crate) fn of(&self, sid: &str) -> Vec<String> {
        let state = self.state.read();
        let Some(index) = state.by_sid.get(sid) else {
            return Vec::new();
        };
        let member = &state.members[*index as usize];
        let rooms = member.rooms.iter().flat_map(|rooms| rooms.iter());
        let rooms = rooms.map(|room| room.to_string());
        std::iter::once(sid.to_owned()).chain(rooms).collect()
    }

    /// Returns the number of clients.
    pub(crate) fn clients(&self) -> usize {
        self.state.read().by_sid.len()
    }

    /// Returns the number of rooms, without those of the clients' sids.
    pub(crate) fn count(&self) -> usize {
        self.state.read().rooms.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.state.read().by_sid.is_empty()
    }

    /// Returns every client, each once, that an event is for.
    pub(crate) fn select(&self, recipients: &BroadcastTarget) -> Vec<M> {
        let state = self.state.read();
        let mut skipped: HashSet<u32> = recipients
            .skip
            .iter()
            .filter_map(|sid| state.by_sid.get(&**sid).copied())
            .collect();
        let except: Vec<_> = recipients
            .except
            .iter()
            .filter_map(|room| state.room(room))
            .collect();
        let named = match recipients.rooms.as_deref() {
            None => state.members.len(),
            Some(rooms) => {
                let rooms = rooms.iter().filter_map(|room| state.room(room));
                rooms.map(|room| room.len()).sum()
            }
        };
        let excepted: usize = except.iter().map(Room::len).sum();
        let except = if except.len() > 1 && excepted < named.saturating_mul(except.len()) {
            // Cheaper than to look for each recipient in each of the rooms.
            skipped.extend(except.iter().flat_map(|room| room.iter()));
            Vec::new()
        } else {
            except
        };
        let wanted = |index: &u32| {
            !skipped.contains(index) && !except.iter().any(|room| room.contains(*index))
        };
        let client = |index: u32| state.members[index as usize].client.clone();
        match recipients.rooms.as_deref() {
            None => {
                let members = state.members.iter().filter(|(_, member)| member.admitted);
                let indexes = members.map(|(index, _)| index as u32);
                indexes.filter(wanted).map(client).collect()
            }
            Some([room]) => {
                let Some(room) = state.room(room) else {
                    return Vec::new();
                };
                let mut selected = Vec::with_capacity(room.len());
                selected.extend(room.iter().filter(wanted).map(client));
                selected
            }
            Some(rooms) => {
                let rooms = rooms.iter().filter_map(|room| state.room(room));
                let union: HashSet<u32> = rooms
                    .flat_map(|room| room.iter().collect::<Vec<_>>())
                    .collect();
                union.into_iter().filter(wanted).map(client).collect()
            }
        }
    }
}

/// A room: one that clients have entered, or a client's own.
enum Room<'a> {
    Entered(&'a HashSet<u32>),
    Own(u32),
}

impl Room<'_> {
    fn contains(&self, index: u32) -> bool {
        match self {
            Room::Entered(members) => members.contains(&index),
            Room::Own(own) => *own == index,
        }
    }

    fn len(&self) -> usize {
        match self {
            Room::Entered(members) => members.len(),
            Room::Own(_) => 1,
        }
    }

    fn iter(&self) -> impl Iterator<Item = u32> {
        let (entered, own) = match self {
            Room::Entered(members) => (Some(members.iter().copied()), None),
            Room::Own(own) => (None, Some(*own)),
        };
        entered.into_iter().flatten().chain(own)
    }
}

impl<M> Member<M> {
    /// Removes a room; returns whether it was in it.
    fn leave(&mut self, room: &str) -> bool {
        let left = self.rooms.as_mut().is_some_and(|rooms| rooms.remove(room));
        self.rooms.take_if(|rooms| rooms.is_empty());
        left
    }
}

impl<M> RoomTables<M> {
    fn find_mut(&mut self, sid: &str) -> Option<&mut Member<M>> {
        let index = self.by_sid.get(sid)?;
        self.members.get_mut(*index as usize)
    }

    fn room(&self, name: &str) -> Option<Room<'_>> {
        match self.by_sid.get(name) {
            Some(index) => Some(Room::Own(*index)),
            None => self.rooms.get(name).map(Room::Entered),
        }
    }

    /// Forgets who has an id, and returns it: dropping it may run code of the program, which needs
    /// that no lock is held.
    fn forget(&mut self, sid: &str) -> Option<M> {
        let index = self.by_sid.remove(sid)?;
        let member = self.members.remove(index as usize);
        for room in member.rooms.into_iter().flat_map(|rooms| *rooms) {
            self.remove_from(&room, index);
        }
        Some(member.client)
    }

    /// Removes a client from a room, which vanishes with its last member.
    fn remove_from(&mut self, room: &str, index: u32) {
        if let Some(members) = self.rooms.get_mut(room) {
            members.remove(&index);
            if members.is_empty() {
                self.rooms.remove(room);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rooms(sids: &[&'static str]) -> RoomIndex<&'static str> {
        let rooms = RoomIndex::new();
        for sid in sids {
            rooms.insert(Arc::from(*sid), *sid);
            rooms.admit(sid);
        }
        rooms
    }

    fn select(
        rooms: &RoomIndex<&'static str>,
        to: Option<&[&str]>,
        skip: &[&str],
        except: &[&str],
    ) -> Vec<&'static str> {
        let owned = |names: &[&str]| {
            names
                .iter()
                .map(|name| name.to_string())
                .collect::<Vec<_>>()
        };
        let mut selected = rooms.select(&BroadcastTarget {
            rooms: to.map(owned),
            skip: owned(skip),
            except: owned(except),
        });
        selected.sort_unstable();
        selected
    }

    #[test]
    fn recipients_are_the_union_of_rooms_without_those_who_are_left_out() {
        let rooms = rooms(&["1", "2", "3", "4"]);
        for (sid, room) in [("1", "a"), ("2", "a"), ("2", "b"), ("3", "b")] {
            rooms.enter(sid, room).unwrap();
        }
        assert_eq!(select(&rooms, None, &[], &[]), ["1", "2", "3", "4"]);
        assert_eq!(select(&rooms, Some(&["a"]), &[], &[]), ["1", "2"]);
        assert_eq!(select(&rooms, Some(&["a", "b"]), &[], &[]), ["1", "2", "3"]);
        assert_eq!(
            select(&rooms, Some(&["4", "a", "nobody"]), &["1"], &[]),
            ["2", "4"]
        );
        assert_eq!(select(&rooms, None, &[], &["b", "4"]), ["1"]);
        assert_eq!(select(&rooms, Some(&[]), &[], &[]), [""; 0]);
    }

    #[test]
    fn clients_that_are_not_admitted_are_in_no_broadcast_but_in_their_rooms() {
        let rooms = rooms(&["1"]);
        rooms.insert(Arc::from("new"), "new");
        rooms.enter("new", "a").unwrap();
        assert_eq!(select(&rooms, None, &[], &[]), ["1"]);
        assert_eq!(select(&rooms, Some(&["a"]), &[], &[]), ["new"]);
        assert_eq!(select(&rooms, Some(&["new"]), &[], &[]), ["new"]);
    }

    #[test]
    fn a_client_s_own_room_is_its_own() {
        let rooms = rooms(&["1", "2"]);
        assert!(matches!(
            rooms.enter("1", "2"),
            Err(Error::InvalidArgument(_))
        ));
        assert!(matches!(
            rooms.leave("1", "1"),
            Err(Error::InvalidArgument(_))
        ));
        assert!(matches!(rooms.close("1"), Err(Error::InvalidArgument(_))));
        assert!(rooms.enter("1", "1").is_ok());
        assert_eq!(rooms.of("1"), ["1"]);
        assert!(matches!(rooms.enter("3", "a"), Err(Error::Disconnected)));
    }

    #[test]
    fn rooms_vanish_with_their_members() {
        let rooms = rooms(&["1", "2"]);
        for (sid, room) in [("1", "a"), ("1", "b"), ("2", "b"), ("1", "c")] {
            rooms.enter(sid, room).unwrap();
        }
        let mut of = rooms.of("1");
        of[1..].sort();
        assert_eq!(of, ["1", "a", "b", "c"]);
        rooms.leave("1", "a").unwrap();
        rooms.close("b").unwrap();
        assert_eq!(rooms.of("1"), ["1", "c"]);
        assert_eq!(rooms.of("2"), ["2"]);
        rooms.remove("1", &"1");
        assert!(rooms.state.read().rooms.is_empty());
        assert_eq!(rooms.of("1"), [""; 0]);
        assert!(!rooms.is_empty());
    }
}
