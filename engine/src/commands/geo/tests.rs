//! Tests of the geo commands: what the wire transcripts cannot see, and polygons, which the real server does not have.

use crate::commands::harness::Shard;
use crate::journal::EventClass;

fn sicily() -> Shard {
    let mut shard = Shard::default();
    shard.check("GEOADD s 13.361389 38.115556 Palermo 15.087269 37.502669 Catania", ":2\r\n");
    shard.check("GEOADD s 12.758489 38.788135 edge1 17.241510 38.788135 edge2", ":2\r\n");
    shard
}

#[test]
fn effects_and_events() {
    let mut shard = sicily();
    shard.keyspace.journal.listen(true, &[EventClass::SortedSet, EventClass::Generic]);
    for (line, effects, events) in [
        ("GEOADD s CH 13.361389 38.115556 Palermo", vec![], vec![]),
        ("GEOADD s xx ch 13.5 38 Palermo", vec!["ZADD s xx ch 3479097324432493 Palermo"], vec!["zadd s"]),
        (
            "GEOSEARCHSTORE d s FROMLONLAT 15 37 BYRADIUS 100 km STOREDIST",
            vec!["GEOSEARCHSTORE d s FROMLONLAT 15 37 BYRADIUS 100 km STOREDIST"],
            vec!["geosearchstore d"],
        ),
        ("GEORADIUS s 15 37 1 m STORE d", vec!["DEL d"], vec!["del d"]),
        ("GEORADIUS s 15 37 1 m STORE d", vec![], vec![]),
        (
            "GEORADIUSBYMEMBER s Catania 1 m STOREDIST other STORE d",
            vec!["GEORADIUSBYMEMBER s Catania 1 m STOREDIST other STORE d"],
            vec!["georadiusstore d"],
        ),
        (
            "GEOSEARCHSTORE d s BYPOLYGON 3 15 37 16 37 15 38",
            vec!["DEL d", "ZADD d 3479447370796909 Catania"],
            vec!["geosearchstore d"],
        ),
        ("GEOSEARCHSTORE d s BYPOLYGON 3 1 37 2 37 1 38", vec!["DEL d"], vec!["del d"]),
    ] {
        shard.run(line);
        let (told, heard) = shard.keyspace.journal.take();
        let told: Vec<String> =
            told.iter().map(|effect| String::from_utf8_lossy(&effect.arguments.join(&b' ')).into_owned()).collect();
        let heard: Vec<String> =
            heard.iter().map(|event| format!("{} {}", event.name, String::from_utf8_lossy(&event.key))).collect();
        assert_eq!(
            (told, heard),
            (effects.iter().map(ToString::to_string).collect(), events.iter().map(ToString::to_string).collect()),
            "{line}"
        );
    }
}

#[test]
fn polygons() {
    let mut shard = sicily();
    shard.check("GEOSEARCH s BYPOLYGON 4 12 37 16 37 16 38.5 12 38.5 ASC", "*2\r\n$7\r\nPalermo\r\n$7\r\nCatania\r\n");
    shard.check("GEOSEARCH s BYPOLYGON 3 12 37 16 37 16 38.5", "*1\r\n$7\r\nCatania\r\n");
    shard.check("GEOSEARCH s BYPOLYGON 4 12 37 16 37 16 38.5 12 38.5 ASC COUNT 1", "*1\r\n$7\r\nPalermo\r\n");
    shard.check("GEOSEARCH none BYPOLYGON 3 12 37 16 37 16 38.5", "*0\r\n");
    for (words, error) in [
        ("BYPOLYGON 2 12 37 16 37", "ERR GEOSEARCH BYPOLYGON must have at least 3 vertices"),
        ("BYPOLYGON 3 12 37 16 37", "ERR GEOSEARCH BYPOLYGON must have at least 3 vertices"),
        ("BYPOLYGON 9223372036854775807 12 37 16 37", "ERR GEOSEARCH BYPOLYGON must have at least 3 vertices"),
        ("BYPOLYGON x 12 37 16 37", "ERR invalid number of vertices"),
        ("BYPOLYGON 3 12 37 16 37 200 1", "ERR invalid longitude,latitude pair 200.000000,1.000000"),
        ("BYPOLYGON 3 12 37 16 37 16 38 BYRADIUS 1 m", "ERR syntax error"),
        ("BYRADIUS 1 m BYPOLYGON 3 12 37 16 37 16 38", "ERR syntax error"),
        ("BYPOLYGON 3 12 37 16 37 16 38 FROMMEMBER Palermo", "ERR syntax error"),
        ("FROMMEMBER Palermo BYPOLYGON 3 12 37 16 37 16 38", "ERR syntax error"),
    ] {
        shard.check(&format!("GEOSEARCH s {words}"), &format!("-{error}\r\n"));
    }
}

#[test]
fn results_are_those_of_a_walk_over_all_places() {
    let mut random = fastrand::Rng::with_seed(4);
    let mut shard = Shard::default();
    let mut hits = 0;
    for member in 0..3000 {
        let (longitude, latitude) = (random.f64() * 20.0 - 10.0, random.f64() * 20.0 + 30.0);
        shard.check(&format!("GEOADD k {longitude} {latitude} m{member}"), ":1\r\n");
    }
    for _ in 0..60 {
        let middle = random.usize(..3000);
        let radius = 10f64.powf(random.f64() * 6.0);
        let mut expected: Vec<String> = Vec::new();
        for member in 0..3000 {
            let reply = shard.run(&format!("GEODIST k m{middle} m{member}"));
            let distance: f64 = reply.lines().nth(1).expect("a bulk string").parse().expect("a number");
            // Distances are told with four decimals: what is nearer to the border than that is left out below.
            assert!((distance - radius).abs() > 0.0001);
            if distance <= radius {
                expected.push(format!("m{member}"));
            }
        }
        let reply = shard.run(&format!("GEOSEARCH k FROMMEMBER m{middle} BYRADIUS {radius} m"));
        let mut found: Vec<String> = reply.lines().filter(|line| line.starts_with('m')).map(str::to_owned).collect();
        hits += found.len();
        expected.sort();
        found.sort();
        assert_eq!(found, expected, "m{middle} {radius}");
    }
    assert!(hits > 1000, "{hits}");
}
