//! Every form of `TZ`, and its local time at instants for which that is known.

use std::os::unix::fs::symlink;
use std::process::Command;

use super::*;

/// 2026-01-01T00:00:00Z and 2026-07-01T00:00:00Z.
const WINTER: i64 = 1_767_225_600;
const SUMMER: i64 = 1_782_864_000;

/// Values of `TZ` that need no file on this system, and their local times in winter and summer.
const FORMS: [(&str, &str, &str); 25] = [
    ("", "2026-01-01 00:00:00", "2026-07-01 00:00:00"),
    (":", "2026-01-01 00:00:00", "2026-07-01 00:00:00"),
    ("UTC", "2026-01-01 00:00:00", "2026-07-01 00:00:00"),
    ("Etc/GMT+5", "2025-12-31 19:00:00", "2026-06-30 19:00:00"),
    ("America/New_York", "2025-12-31 19:00:00", "2026-06-30 20:00:00"),
    (":America/New_York", "2025-12-31 19:00:00", "2026-06-30 20:00:00"),
    ("Europe/Dublin", "2026-01-01 00:00:00", "2026-07-01 01:00:00"),
    ("Asia/Kathmandu", "2026-01-01 05:45:00", "2026-07-01 05:45:00"),
    ("Australia/Lord_Howe", "2026-01-01 11:00:00", "2026-07-01 10:30:00"),
    ("posix/Europe/Paris", "2026-01-01 01:00:00", "2026-07-01 02:00:00"),
    ("EST5EDT", "2025-12-31 19:00:00", "2026-06-30 20:00:00"),
    ("US/Pacific", "2025-12-31 16:00:00", "2026-06-30 17:00:00"),
    ("UTC0", "2026-01-01 00:00:00", "2026-07-01 00:00:00"),
    ("UTC+3", "2025-12-31 21:00:00", "2026-06-30 21:00:00"),
    (":UTC-3", "2026-01-01 03:00:00", "2026-07-01 03:00:00"),
    ("<+03>-3", "2026-01-01 03:00:00", "2026-07-01 03:00:00"),
    ("<+0330>-3:30", "2026-01-01 03:30:00", "2026-07-01 03:30:00"),
    ("EST+5:30:15", "2025-12-31 18:29:45", "2026-06-30 18:29:45"),
    ("CET-1CEST,M3.5.0,M10.5.0/3", "2026-01-01 01:00:00", "2026-07-01 02:00:00"),
    ("<-03>3<-02>,M3.5.0/-2,M10.5.0/-1", "2025-12-31 21:00:00", "2026-06-30 22:00:00"),
    ("IST-2IDT,M3.4.4/26,M10.5.0", "2026-01-01 02:00:00", "2026-07-01 03:00:00"),
    ("XXX3YYY,J60/0,J300", "2025-12-31 21:00:00", "2026-06-30 22:00:00"),
    ("XXX3YYY4,59,299", "2025-12-31 21:00:00", "2026-06-30 20:00:00"),
    // Without rules: those of the United States apply.
    ("AAA3BBB", "2025-12-31 21:00:00", "2026-06-30 22:00:00"),
    ("AAA3BBB,", "2025-12-31 21:00:00", "2026-06-30 22:00:00"),
];

fn text(zone: &TimeZone, second: i64) -> String {
    let time = Timestamp::from_second(second).unwrap().to_zoned(zone.clone());
    time.strftime("%Y-%m-%d %H:%M:%S").to_string()
}

fn zone_of(tz: &str, tzdir: Option<&Path>) -> Result<LocalZone, ZoneError> {
    let (tz, localtime) = (Some(OsStr::new(tz)), Path::new("/no/such/localtime"));
    let timezone = Path::new("/no/such/timezone");
    Surroundings { tz, tzdir: tzdir.map(Path::as_os_str), localtime, timezone }.zone()
}

/// A zone as it is told.
fn name_of(zone: &LocalZone) -> String {
    let told = zone.describe(SystemTime::now());
    told.split_once(", now ").unwrap_or_else(|| panic!("{told}")).0.to_owned()
}

fn check_forms(tzdir: Option<&Path>) {
    for (tz, winter, summer) in FORMS {
        let zone = zone_of(tz, tzdir).unwrap_or_else(|error| panic!("{error}")).zone;
        assert_eq!([text(&zone, WINTER), text(&zone, SUMMER)], [winter, summer], "TZ={tz}");
    }
}

#[test]
fn every_form_gives_its_time_with_the_files_of_the_system_if_any() {
    check_forms(None);
}

#[test]
fn and_without_any_files() {
    let empty = tempfile::tempdir().unwrap();
    check_forms(Some(empty.path()));
    check_forms(Some(&empty.path().join("not there")));
}

#[test]
fn the_command_date_agrees() {
    if !Path::new("/usr/share/zoneinfo/posix/Europe/Paris").exists() {
        return;
    }
    for (tz, winter, summer) in FORMS {
        for (second, expected) in [(WINTER, winter), (SUMMER, summer)] {
            let mut date = Command::new("date");
            date.env("TZ", tz).args(["-d", &format!("@{second}"), "+%Y-%m-%d %H:%M:%S"]);
            let Ok(output) = date.output() else { return };
            if output.status.success() {
                assert_eq!(String::from_utf8_lossy(&output.stdout).trim(), expected, "TZ={tz}");
            }
        }
    }
}

/// Returns a zone file that is one hour east of UTC in version 2, with the given number of leap
/// seconds.
fn zone_file(leap_seconds: u32) -> Vec<u8> {
    let header = |leaps: u32| {
        let mut bytes = b"TZif2".to_vec();
        bytes.extend([0; 15]);
        for count in [0, 0, leaps, 0, 1, 4u32] {
            bytes.extend(count.to_be_bytes());
        }
        bytes
    };
    let body = [&3600u32.to_be_bytes()[..], &[0, 0], b"ONE\0"].concat();
    let mut bytes = [header(0), body.clone(), header(leap_seconds), body].concat();
    for leap in 1..=leap_seconds {
        bytes.extend((78_796_800 + u64::from(leap) * 31_536_000).to_be_bytes());
        bytes.extend(leap.to_be_bytes());
    }
    bytes.extend(b"\nONE-1\n");
    bytes
}

#[test]
fn files_by_path_and_by_name() {
    let dir = tempfile::tempdir().unwrap();
    let zones = dir.path().join("zones");
    fs::create_dir_all(zones.join("Own")).unwrap();
    fs::write(zones.join("Own/Zone"), zone_file(0)).unwrap();
    // A file takes precedence over a POSIX string.
    fs::write(zones.join("AAA3BBB"), zone_file(0)).unwrap();
    let path = zones.join("Own/Zone").display().to_string();
    for tz in [path.as_str(), &format!(":{path}"), "Own/Zone", "Own/../Own/Zone", "AAA3BBB"] {
        let zone = zone_of(tz, Some(&zones)).unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(text(&zone.zone, SUMMER), "2026-07-01 01:00:00", "TZ={tz}");
    }
    // Missing files are looked up among the built-in zones.
    let zone = zone_of("Asia/Tokyo", Some(&zones)).unwrap();
    assert_eq!(text(&zone.zone, SUMMER), "2026-07-01 09:00:00");
}

#[test]
fn what_is_no_zone_is_an_error_that_says_so() {
    let dir = tempfile::tempdir().unwrap();
    let own = |name: &str| dir.path().join(name).display().to_string();
    fs::write(own("text"), "no zone").unwrap();
    fs::write(own("torn"), &zone_file(0)[..60]).unwrap();
    fs::write(own("right"), zone_file(2)).unwrap();
    fs::write(own("counts"), [&b"TZif2"[..], &[255; 60]].concat()).unwrap();
    for (tz, why) in [
        ("Nowhere/Land", "no such time zone"),
        (":Nowhere", "no such time zone"),
        ("america/new_york", "no such time zone"),
        ("EST", "no such time zone"),
        ("EST5EDT garbage", "no such time zone"),
        ("EST5,M3.2.0", "no such time zone"),
        (" UTC", "no such time zone"),
        ("A3", "no such time zone"),
        ("5", "no such time zone"),
        ("-", "no such time zone"),
        ("text", "not a time zone file"),
        (&own("not there"), "no such file"),
        (&own("text"), "not a time zone file"),
        (&own("text/x"), "no such file"),
        (&own("torn"), "torn"),
        (&own("counts"), "counts"),
        (&own("right"), "counts leap seconds"),
        (&own(""), "not a regular file"),
        ("/dev/zero", "not a regular file"),
    ] {
        let built_in = tz == "EST";
        match zone_of(tz, Some(dir.path())) {
            Ok(_) => assert!(built_in, "TZ={tz} is a zone"),
            Err(error) => {
                let error = error.to_string();
                assert!(error.starts_with(&format!("TZ is {tz:?}: ")), "{error}");
                assert!(error.contains(why) && error.contains("; expected the name"), "{error}");
            }
        }
    }
    let value = OsStr::from_bytes(b"\xff\xfe");
    let localtime = Path::new("/no/such/localtime");
    let timezone = Path::new("/no/such/timezone");
    let surroundings = Surroundings { tz: Some(value), tzdir: None, localtime, timezone };
    let error = surroundings.zone().unwrap_err();
    assert!(error.to_string().contains("\\xFF\\xFE"), "{error}");
}

#[test]
fn without_tz_it_is_the_zone_of_the_system() {
    let dir = tempfile::tempdir().unwrap();
    let localtime = dir.path().join("localtime");
    let timezone = dir.path().join("timezone");
    let zone = |tz: Option<&OsStr>| {
        Surroundings { tz, tzdir: None, localtime: &localtime, timezone: &timezone }.zone()
    };
    let time = |zone: &LocalZone| text(&zone.zone, SUMMER);

    for tz in [None, Some(localtime.as_os_str())] {
        let found = zone(tz).unwrap();
        assert_eq!(time(&found), "2026-07-01 00:00:00");
        assert!(found.describe(SystemTime::now()).starts_with("UTC (neither TZ nor "));
    }
    fs::write(&localtime, zone_file(0)).unwrap();
    assert_eq!(time(&zone(None).unwrap()), "2026-07-01 01:00:00");
    fs::write(&localtime, "no zone").unwrap();
    let error = zone(None).unwrap_err().to_string();
    assert!(error.contains("localtime: not a time zone file; expected"), "{error}");

    // A link to a zone on a system without zone files.
    fs::remove_file(&localtime).unwrap();
    symlink("../no/share/zoneinfo/Asia/Tokyo", &localtime).unwrap();
    let found = zone(None).unwrap();
    assert_eq!(time(&found), "2026-07-01 09:00:00");
    assert_eq!(name_of(&found), format!("Asia/Tokyo (from {})", localtime.display()));
    fs::remove_file(&localtime).unwrap();
    symlink("no/such/file", &localtime).unwrap();
    let error = zone(None).unwrap_err().to_string();
    assert!(error.contains("localtime: a link to nothing; expected"), "{error}");
}

#[test]
fn a_zone_is_told_by_its_name_wherever_it_comes_from() {
    let dir = tempfile::tempdir().unwrap();
    let zones = dir.path().join("zoneinfo");
    fs::create_dir_all(zones.join("Own")).unwrap();
    fs::write(zones.join("Own/Zone"), zone_file(0)).unwrap();
    let path = zones.join("Own/Zone").display().to_string();
    for (tz, expected) in [
        ("America/New_York", "America/New_York (from TZ)".to_owned()),
        (":Own/Zone", "Own/Zone (from TZ)".into()),
        ("EST5EDT,M3.2.0,M11.1.0", "EST5EDT,M3.2.0,M11.1.0 (from TZ)".into()),
        (&path, format!("Own/Zone (from TZ, {path})")),
        ("", "UTC (TZ is empty)".into()),
    ] {
        assert_eq!(name_of(&zone_of(tz, Some(&zones)).unwrap()), expected, "TZ={tz}");
    }
    // A copy has no name of its own; the system may say it elsewhere.
    let (localtime, timezone) = (dir.path().join("localtime"), dir.path().join("timezone"));
    fs::write(&localtime, zone_file(0)).unwrap();
    let mut different = zone_file(0);
    different.splice(different.len() - 6.., *b"TWO-2\n");
    fs::write(zones.join("Own/Other"), different).unwrap();
    for (said, expected) in [
        (None, "ONE-1"),
        (Some("Own/Zone\n"), "Own/Zone"),
        (Some("Own/Other\n"), "ONE-1"),
        (Some("Own/Gone"), "ONE-1"),
        (Some(&*path), "ONE-1"),
        (Some("\n"), "ONE-1"),
    ] {
        match said {
            Some(said) => fs::write(&timezone, said).unwrap(),
            None => assert!(!timezone.exists()),
        }
        let tzdir = Some(zones.as_os_str());
        let surroundings =
            Surroundings { tz: None, tzdir, localtime: &localtime, timezone: &timezone };
        let found = name_of(&surroundings.zone().unwrap());
        assert_eq!(found, format!("{expected} (from {})", localtime.display()), "{said:?}");
    }
}
