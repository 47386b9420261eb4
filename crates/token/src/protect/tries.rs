//! Wrong PINs of one user in a row, counted here so that accidents do not lock the whole TPM. It counts those of all its users
//! together, and a program that repeats a wrong PIN would lock the disk's encryption out as well.
//!
//! It is no protection: whoever can write the store forgets the count, and who has the TPM needs no store to try PINs. Against them
//! there is the TPM's own count.

use std::time::{SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};
use store::Role;

/// What is known of one user's wrong PINs. The times are the TPM's, as it said at the last one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Tries {
    /// Wrong ones, without those that the TPM had forgotten by then.
    wrong: u32,
    /// When the last one was, in seconds since 1970.
    at: u64,
    /// After how many seconds the TPM forgets one; 0: it counts none.
    recovery: u32,
    /// How many the TPM can take and still have its reserve.
    most: u32,
}

/// Those of a token.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct AllTries {
    #[serde(default, skip_serializing_if = "Tries::is_none")]
    pub(crate) so: Tries,
    #[serde(default, skip_serializing_if = "Tries::is_none")]
    pub(crate) user: Tries,
}

impl AllTries {
    pub(crate) fn is_none(&self) -> bool {
        *self == Self::default()
    }

    pub(crate) fn of(&self, role: Role) -> Tries {
        match role {
            Role::So => self.so,
            Role::User => self.user,
        }
    }

    pub(crate) fn of_mut(&mut self, role: Role) -> &mut Tries {
        match role {
            Role::So => &mut self.so,
            Role::User => &mut self.user,
        }
    }
}

/// How far a user is from being refused without a question to the TPM.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Guard {
    /// Wrong PINs in a row from now on that go to the TPM; `None`: all.
    pub left: Option<u32>,
    /// Seconds until one is let through again; 0 while there are any left.
    pub wait: u64,
}

/// How many wrong PINs of one user a TPM can take that locks after `max_tries`: a quarter of them is for others, and for the one
/// right PIN that somebody is looking for, and at least one.
#[must_use]
pub fn most(max_tries: u32) -> u32 {
    max_tries.saturating_sub(max_tries.div_ceil(4)).max(1)
}

/// Seconds since 1970.
pub(crate) fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map(|since| since.as_secs()).unwrap_or_default()
}

impl Tries {
    pub(crate) fn is_none(&self) -> bool {
        *self == Self::default()
    }

    /// With a wrong one more, which the TPM counted as it says.
    pub(crate) fn one_more(&self, now: u64, lockout: &tpm::Lockout) -> Self {
        if lockout.max_tries == 0 || lockout.recovery_seconds == 0 {
            return Self::default();
        }
        let (recovery, most) = (lockout.recovery_seconds, most(lockout.max_tries));
        Self { wrong: self.counted(now).saturating_add(1), at: now, recovery, most }
    }

    /// How many the TPM has not forgotten, if nobody made it forget. A clock that was set back forgets all.
    fn counted(&self, now: u64) -> u32 {
        let Some(elapsed) = now.checked_sub(self.at) else { return 0 };
        let forgotten = elapsed.checked_div(self.recovery.into()).unwrap_or(u64::MAX);
        self.wrong.saturating_sub(u32::try_from(forgotten).unwrap_or(u32::MAX))
    }

    /// What is to be done about the next PIN, where `setting` are let through; 0: all.
    pub(crate) fn guard(&self, setting: u32, now: u64) -> Guard {
        if setting == 0 {
            return Guard { left: None, wait: 0 };
        }
        let limit = if self.most == 0 { setting } else { setting.min(self.most) };
        let counted = self.counted(now);
        let left = limit.saturating_sub(counted);
        // Until so many are forgotten that one is left.
        let forgets = u64::from(self.wrong.saturating_sub(limit).saturating_add(1)) * u64::from(self.recovery);
        let wait = if left > 0 { 0 } else { self.at.saturating_add(forgets).saturating_sub(now).max(1) };
        Guard { left: Some(left), wait }
    }

    /// Did a PIN turn out to be wrong that is still counted?
    pub(crate) fn any(&self, now: u64) -> bool {
        self.counted(now) > 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lockout(max_tries: u32, recovery_seconds: u32) -> tpm::Lockout {
        tpm::Lockout {
            counter: 1,
            max_tries,
            recovery_seconds,
            in_lockout: false,
            lockout_recovery_seconds: 0,
            lockout_auth_set: false,
            owner_auth_set: false,
        }
    }

    #[test]
    fn a_reserve_is_left_to_others() {
        for (max_tries, expected) in
            [(1, 1), (2, 1), (3, 2), (4, 3), (5, 3), (10, 7), (32, 24), (u32::MAX, 3_221_225_471)]
        {
            assert_eq!(most(max_tries), expected, "{max_tries}");
        }
    }

    #[test]
    fn what_the_tpm_forgets_is_forgotten() {
        let of_tpm = lockout(32, 100);
        let mut tries = Tries::default();
        assert_eq!(tries.guard(3, 1000), Guard { left: Some(3), wait: 0 });
        for (at, left) in [(1000, 2), (1010, 1), (1020, 0)] {
            tries = tries.one_more(at, &of_tpm);
            assert_eq!(tries.guard(3, at).left, Some(left));
        }
        assert_eq!(tries.guard(3, 1020).wait, 100);
        assert_eq!(tries.guard(3, 1119), Guard { left: Some(0), wait: 1 });
        assert_eq!(tries.guard(3, 1120), Guard { left: Some(1), wait: 0 });
        assert_eq!(tries.guard(3, 1320), Guard { left: Some(3), wait: 0 });
        assert!(tries.any(1319) && !tries.any(1320));
        // One wrong again, and it is full again.
        assert_eq!(tries.one_more(1120, &of_tpm).guard(3, 1120), Guard { left: Some(0), wait: 100 });
        // Somebody lowered the setting meanwhile, or switched it off.
        assert_eq!(tries.guard(1, 1020), Guard { left: Some(0), wait: 300 });
        assert_eq!(tries.guard(0, 1020), Guard { left: None, wait: 0 });
        // A clock that was set back.
        assert_eq!(tries.guard(3, 900), Guard { left: Some(3), wait: 0 });
    }

    #[test]
    fn a_tpm_with_few_tries_keeps_its_reserve() {
        let tries = Tries::default().one_more(5, &lockout(3, 1000));
        assert_eq!(tries.guard(20, 5).left, Some(1));
        // One that never locks has nothing to guard.
        for never in [lockout(0, 100), lockout(5, 0)] {
            assert!(tries.one_more(6, &never).is_none());
        }
    }

    /// What a row says can be anything.
    #[test]
    fn altered_numbers_end_somewhere() {
        let most = Tries { wrong: u32::MAX, at: u64::MAX, recovery: u32::MAX, most: u32::MAX };
        for now in [0, 1, u64::MAX] {
            for tries in [most, Tries { at: 0, ..most }, Tries { recovery: 0, ..most }] {
                let guard = tries.guard(1, now);
                assert!(guard.left.is_some_and(|left| (left > 0) == (guard.wait == 0)), "{tries:?} {now} {guard:?}");
            }
        }
    }
}
