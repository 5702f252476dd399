//! Seconds, and how `SigV4` writes them.

use crate::error::{Error, Kind};

pub(crate) const SECONDS_A_DAY: i64 = 86_400;
/// 10000-01-01T00:00:00Z: the date has four digits for the year.
pub(crate) const END_OF_TIME: i64 = 253_402_300_800;

/// A second in UTC between 1970 and 9999, with its text.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Timestamp {
    /// Days since 1970-01-01.
    pub(crate) day: i64,
    text: [u8; 16],
}

impl Timestamp {
    pub(crate) fn from_unix(seconds: i64) -> Result<Self, Error> {
        if !(0..END_OF_TIME).contains(&seconds) {
            return Err(Error::new(
                Kind::InvalidRequest,
                "the time to sign for must lie between the years 1970 and 9999: check the clock",
            ));
        }
        let day = seconds.div_euclid(SECONDS_A_DAY);
        let second = seconds.rem_euclid(SECONDS_A_DAY);
        let (year, month, month_day) = civil_from_days(day);
        let mut text = *b"YYYYMMDDThhmmssZ";
        write_digits(&mut text[0..4], year);
        write_digits(&mut text[4..6], month);
        write_digits(&mut text[6..8], month_day);
        write_digits(&mut text[9..11], second / 3600);
        write_digits(&mut text[11..13], second / 60 % 60);
        write_digits(&mut text[13..15], second % 60);
        Ok(Self { day, text })
    }

    /// `20240827`
    pub(crate) fn date(&self) -> &[u8] {
        &self.text[..8]
    }

    /// `20240827T000000Z`
    pub(crate) fn date_time(&self) -> &[u8] {
        &self.text
    }
}

/// Year, month and day of the days since 1970-01-01.
///
/// Howard Hinnant's `civil_from_days` ("chrono-Compatible Low-Level Date Algorithms"): the year is
/// taken to begin in March, so that the leap day is its last; `DAYS` of 400 years repeat.
pub(crate) fn civil_from_days(day: i64) -> (i64, i64, i64) {
    const DAYS: i64 = 146_097;
    let shifted = day + 719_468; // from 0000-03-01
    let era = shifted.div_euclid(DAYS);
    let day_of_era = shifted.rem_euclid(DAYS);
    let year_of_era =
        (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day_of_month = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = (month_from_march + 2) % 12 + 1;
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    (year, month, day_of_month)
}

fn write_digits(field: &mut [u8], mut number: i64) {
    for place in field.iter_mut().rev() {
        // A remainder of ten fits in a byte.
        *place = b'0' + u8::try_from(number % 10).unwrap_or_default();
        number /= 10;
    }
}
