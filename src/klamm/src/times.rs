//! Points in time and durations as people write and read them. UTC only.

use std::time::Duration;

use model::Timestamp;

/// A duration: a number and `ms`, `s`, `m`, `h` or `d`; a bare number is seconds. Or as ISO 8601 and
/// Kafka's tools have it: `P7D`, `PT1H30M`.
pub(crate) fn parse_duration(text: &str) -> Result<Duration, String> {
    if let Some(duration) = parse_iso_duration(text) {
        return Ok(duration);
    }
    let digits = text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit()).len();
    let (number, unit) = text.split_at(digits);
    let wrong = || format!("`{text}` is no duration: write 500ms, 10s, 5m, 2h, 7d or PT1H30M");
    let number: u64 = number.parse().map_err(|_| wrong())?;
    let millis = match unit {
        "ms" => 1,
        "s" | "" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => return Err(wrong()),
    };
    Ok(Duration::from_millis(number.checked_mul(millis).ok_or_else(wrong)?))
}

/// `PnDTnHnMnS`, in either case, with up to three digits behind the point of the seconds; weeks,
/// months and years are left out, as in Java's `Duration`.
fn parse_iso_duration(text: &str) -> Option<Duration> {
    let upper = text.to_ascii_uppercase();
    let (days, clock) = match upper.strip_prefix('P')?.split_once('T') {
        Some((_, "")) => return None,
        Some((days, clock)) => (days, clock),
        None => (upper.strip_prefix('P')?, ""),
    };
    if days.is_empty() && clock.is_empty() {
        return None;
    }
    let (days, rest) = split_unit(days, 'D')?;
    let (hours, clock) = split_unit(clock, 'H')?;
    let (minutes, clock) = split_unit(clock, 'M')?;
    let seconds = match clock.strip_suffix('S') {
        Some(seconds) => seconds,
        None if clock.is_empty() => "0",
        None => return None,
    };
    let (whole, fraction) = seconds.split_once('.').unwrap_or((seconds, "0"));
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    if !rest.is_empty() || !digits(whole) || !digits(fraction) {
        return None;
    }
    let millis: String = fraction.chars().chain("000".chars()).take(3).collect();
    let seconds = [(days, 86_400), (hours, 3_600), (minutes, 60), (whole.parse().ok()?, 1)]
        .into_iter()
        .try_fold(0_u64, |sum, (count, unit)| sum.checked_add(u64::checked_mul(count, unit)?))?;
    let millis = seconds.checked_mul(1_000)?.checked_add(millis.parse().ok()?)?;
    Some(Duration::from_millis(millis))
}

/// The number before `unit` and what follows it; 0 where the unit is not there.
fn split_unit(text: &str, unit: char) -> Option<(u64, &str)> {
    let Some((number, rest)) = text.split_once(unit) else { return Some((0, text)) };
    let is_number = !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit());
    if is_number { Some((number.parse().ok()?, rest)) } else { None }
}

/// A date or a date with a time: `2026-11-23`, `2026-11-23T21:00`, `2026-11-23T21:00:05.5Z`,
/// `2026-11-23T21:00:05+02:00`. Without an offset it is UTC.
pub(crate) fn parse_time(text: &str) -> Option<Timestamp> {
    let (date, clock) = match text.split_once(['T', ' ']) {
        Some((date, clock)) => (date, clock),
        None => (text, "00:00"),
    };
    let mut parts = date.splitn(3, '-');
    let year: i64 = parts.next()?.parse().ok()?;
    let month: u32 = parts.next()?.parse().ok()?;
    let day: u32 = parts.next()?.parse().ok()?;
    if !(1..=12).contains(&month) || day == 0 || day > days_in(year, month) {
        return None;
    }
    let (clock, offset_minutes) = split_offset(clock)?;
    let mut parts = clock.splitn(3, ':');
    let hour: i64 = parts.next()?.parse().ok().filter(|hour| (0..24).contains(hour))?;
    let minute: i64 = parts.next()?.parse().ok().filter(|minute| (0..60).contains(minute))?;
    let millis = match parts.next() {
        Some(seconds) => parse_seconds(seconds)?,
        None => 0,
    };
    let minutes = (days_from_civil(year, month, day) * 24 + hour) * 60 + minute - offset_minutes;
    Some(Timestamp(minutes * 60_000 + millis))
}

/// Takes `Z` or `+hh:mm` off the end.
fn split_offset(clock: &str) -> Option<(&str, i64)> {
    if let Some(clock) = clock.strip_suffix(['Z', 'z']) {
        return Some((clock, 0));
    }
    let Some(at) = clock.rfind(['+', '-']) else { return Some((clock, 0)) };
    let sign = if clock.as_bytes()[at] == b'-' { -1 } else { 1 };
    let (hours, minutes) = clock[at + 1..].split_once(':')?;
    let hours: i64 = hours.parse().ok().filter(|hours| (0..24).contains(hours))?;
    let minutes: i64 = minutes.parse().ok().filter(|minutes| (0..60).contains(minutes))?;
    Some((&clock[..at], sign * (hours * 60 + minutes)))
}

/// Seconds with up to three digits behind the point, in milliseconds.
fn parse_seconds(text: &str) -> Option<i64> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, "0"));
    let whole: i64 = whole.parse().ok().filter(|seconds| (0..60).contains(seconds))?;
    if fraction.is_empty() || !fraction.bytes().all(|digit| digit.is_ascii_digit()) {
        return None;
    }
    let padded: String = fraction.chars().chain("000".chars()).take(3).collect();
    Some(whole * 1000 + padded.parse::<i64>().ok()?)
}

fn days_in(year: i64, month: u32) -> u32 {
    let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    match month {
        2 if leap => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// Days from 1970-01-01, in the Gregorian calendar. Years begin in March here, so that the leap day
/// is a year's last.
fn days_from_civil(year: i64, month: u32, day: u32) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let month_from_march = i64::from((month + 9) % 12);
    let day_of_year = (153 * month_from_march + 2) / 5 + i64::from(day) - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    era * 146_097 + day_of_era - 719_468
}

fn civil_from_days(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468;
    let era = days.div_euclid(146_097);
    let day_of_era = days.rem_euclid(146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    (year, month, day)
}

/// `2026-11-23T21:00:05.500Z`; `-` for no timestamp.
pub(crate) fn format_time(timestamp: Timestamp) -> String {
    if timestamp == Timestamp::NONE {
        return "-".to_owned();
    }
    let millis = timestamp.0;
    let (days, rest) = (millis.div_euclid(86_400_000), millis.rem_euclid(86_400_000));
    let (year, month, day) = civil_from_days(days);
    let (hour, minute) = (rest / 3_600_000, rest / 60_000 % 60);
    let (second, milli) = (rest / 1000 % 60, rest % 1000);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{milli:03}Z")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_and_written() {
        for (text, millis) in [
            ("1970-01-01", 0),
            ("2026-11-23", 1_795_392_000_000),
            ("2026-11-23T21:17", 1_795_468_620_000),
            ("2026-11-23T21:17:05.5Z", 1_795_468_625_500),
            ("2026-11-23T23:17:05+02:00", 1_795_468_625_000),
            ("2000-02-29T00:00:00Z", 951_782_400_000),
            ("1969-12-31T23:59:59.999Z", -1),
        ] {
            assert_eq!(parse_time(text), Some(Timestamp(millis)), "{text}");
        }
        for wrong in ["", "yesterday", "2026-13-01", "2025-02-29", "2026-01-01T24:00", "12"] {
            assert_eq!(parse_time(wrong), None, "{wrong}");
        }
        assert_eq!(format_time(Timestamp(1_795_468_625_500)), "2026-11-23T21:17:05.500Z");
        assert_eq!(format_time(Timestamp::NONE), "-");
    }

    #[test]
    fn every_day_of_four_centuries_comes_back() {
        for day in (0..146_097).step_by(7) {
            let timestamp = Timestamp(day * 86_400_000 + 12_345_678);
            assert_eq!(parse_time(&format_time(timestamp)), Some(timestamp));
        }
    }

    #[test]
    fn durations() {
        assert_eq!(parse_duration("500ms"), Ok(Duration::from_millis(500)));
        assert_eq!(parse_duration("10"), Ok(Duration::from_secs(10)));
        assert_eq!(parse_duration("2h"), Ok(Duration::from_secs(7200)));
        for (text, seconds) in [
            ("P7D", 7 * 86_400),
            ("PT1H30M", 5_400),
            ("pt15m", 900),
            ("P1DT2H3M4S", 93_784),
            ("PT90M", 5_400),
            ("PT0S", 0),
        ] {
            assert_eq!(parse_duration(text), Ok(Duration::from_secs(seconds)), "{text}");
        }
        assert_eq!(parse_duration("PT0.25S"), Ok(Duration::from_millis(250)));
        for wrong in ["P", "PT", "P1DT", "P1W", "PT1D", "P1H", "PT1M1H", "PT1", "P-1D", "PT+1S"] {
            assert!(parse_duration(wrong).is_err(), "{wrong}");
        }
        for wrong in ["P99999999999999999999D", "P999999999999999D", "PT1.S", "PT.5S"] {
            assert!(parse_duration(wrong).is_err(), "{wrong}");
        }
        for wrong in ["", "s", "1w", "-1s", "99999999999999999999d"] {
            assert!(parse_duration(wrong).is_err(), "{wrong}");
        }
    }
}
