//! Cells of the grid over the earth: a geohash of some number of steps. A member's score is the cell of 26 steps that its
//! point is in, 52 bits, which a double holds exactly.
//!
//! ```text
//!   longitude -180 .. 180         halved at each step: one bit     bits of longitude  a b c
//!   latitude  -85.05 .. 85.05     (Web Mercator ends there)        bits of latitude   d e f     cell: a d b e c f
//!
//!   north_west | north | north_east         all points of a cell of n steps have scores in
//!   west       |  cell | east               [cell << (52 - 2n), (cell + 1) << (52 - 2n))
//!   south_west | south | south_east
//! ```
//!
//! The arithmetic is that of the real server to the last bit, its borders included: a point on the eastern or northern
//! border gets a number one past the last, so a bit more than 52.

/// The finest cells: what a score is.
pub(super) const STEPS_MAX: u32 = 26;

const LATITUDES: u64 = 0x5555_5555_5555_5555;
const LONGITUDES: u64 = !LATITUDES;

/// From where to where a coordinate goes, in degrees.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Span {
    pub(super) min: f64,
    pub(super) max: f64,
}

impl Span {
    /// All longitudes.
    pub(super) const LONGITUDE: Self = Self { min: -180.0, max: 180.0 };
    /// The latitudes that can be indexed.
    pub(super) const LATITUDE: Self = Self { min: -85.051_128_78, max: 85.051_128_78 };
    /// All latitudes, of the geohashes that others use.
    pub(super) const STANDARD_LATITUDE: Self = Self { min: -90.0, max: 90.0 };

    pub(super) fn contains(self, value: f64) -> bool {
        (self.min..=self.max).contains(&value)
    }

    fn size(self) -> f64 {
        self.max - self.min
    }

    /// Which of 2^steps equal parts a value is in.
    fn part_of(self, value: f64, steps: u32) -> u32 {
        ((value - self.min) / self.size() * (1u64 << steps) as f64) as u32
    }

    fn part(self, number: u32, steps: u32) -> Self {
        let border = |number: u32| self.min + (f64::from(number) / (1u64 << steps) as f64) * self.size();
        Self { min: border(number), max: border(number.wrapping_add(1)) }
    }

    fn middle_in(self, whole: Self) -> f64 {
        f64::midpoint(self.min, self.max).clamp(whole.min, whole.max)
    }
}

/// A place on the earth, in degrees.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Point {
    pub(super) longitude: f64,
    pub(super) latitude: f64,
}

impl Point {
    /// That of a member.
    pub(super) fn of_score(score: f64) -> Self {
        let area = Cell { bits: bits_of_score(score), steps: STEPS_MAX }.area();
        Self { longitude: area.longitude.middle_in(Span::LONGITUDE), latitude: area.latitude.middle_in(Span::LATITUDE) }
    }

    /// The score of a member there.
    pub(super) fn score(self) -> u64 {
        Cell::of(self, STEPS_MAX).bits
    }
}

/// The number in a score. Scores that no GEOADD has made are read as the real server's processor converts them.
fn bits_of_score(score: f64) -> u64 {
    const HALF: f64 = (1u64 << 63) as f64;
    // Out of range is the lowest number there, not the nearest.
    let truncated = |value: f64| if (-HALF..HALF).contains(&value) { value as i64 } else { i64::MIN };
    if score >= HALF { truncated(score - HALF) as u64 ^ 1 << 63 } else { truncated(score) as u64 }
}

/// What a cell covers.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Area {
    pub(super) longitude: Span,
    pub(super) latitude: Span,
}

/// A part of the earth.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Cell {
    bits: u64,
    steps: u32,
}

impl Cell {
    /// That of a point.
    pub(super) fn of(point: Point, steps: u32) -> Self {
        Self::in_spans(point, Span::LATITUDE, steps)
    }

    /// That of a point, where latitudes have another span.
    fn in_spans(point: Point, latitudes: Span, steps: u32) -> Self {
        let latitude = latitudes.part_of(point.latitude, steps);
        let longitude = Span::LONGITUDE.part_of(point.longitude, steps);
        Self { bits: spread(latitude) | spread(longitude) << 1, steps }
    }

    pub(super) fn area(self) -> Area {
        Area {
            longitude: Span::LONGITUDE.part(gather(self.bits >> 1), self.steps),
            latitude: Span::LATITUDE.part(gather(self.bits), self.steps),
        }
    }

    /// The lowest score in it, and the first behind it.
    pub(super) fn scores(self) -> (f64, f64) {
        let shift = 2 * (STEPS_MAX - self.steps);
        ((self.bits << shift) as f64, ((self.bits + 1) << shift) as f64)
    }

    /// The cell beside it, some cells (-1, 0 or 1) eastward and northward, around the earth if need be.
    pub(super) fn beside(self, east: i8, north: i8) -> Self {
        let inside = u64::MAX >> (64 - 2 * self.steps);
        let longitude = moved(self.bits, LONGITUDES, inside, east);
        let latitude = moved(self.bits, LATITUDES, inside, north);
        Self { bits: longitude | latitude, steps: self.steps }
    }
}

/// The bits of one axis, counted up or down by one.
fn moved(bits: u64, axis: u64, inside: u64, direction: i8) -> u64 {
    let mask = axis & inside;
    match direction {
        0 => bits & axis,
        // The bits of the other axis are ones that hand on what is carried.
        1.. => (bits | !mask).wrapping_add(1) & mask,
        _ => (bits & mask).wrapping_sub(1) & mask,
    }
}

/// Puts a zero in front of each bit.
fn spread(number: u32) -> u64 {
    let mut bits = u64::from(number);
    for (shift, mask) in [
        (16, 0x0000_FFFF_0000_FFFF),
        (8, 0x00FF_00FF_00FF_00FF),
        (4, 0x0F0F_0F0F_0F0F_0F0F),
        (2, 0x3333_3333_3333_3333),
        (1, LATITUDES),
    ] {
        bits = (bits | bits << shift) & mask;
    }
    bits
}

/// Takes every second bit, from the lowest on.
fn gather(bits: u64) -> u32 {
    let mut bits = bits & LATITUDES;
    for (shift, mask) in [
        (1, 0x3333_3333_3333_3333),
        (2, 0x0F0F_0F0F_0F0F_0F0F),
        (4, 0x00FF_00FF_00FF_00FF),
        (8, 0x0000_FFFF_0000_FFFF),
        (16, 0x0000_0000_FFFF_FFFF),
    ] {
        bits = (bits | bits >> shift) & mask;
    }
    bits as u32
}

/// A point as the geohash text that others use: 11 characters, of which 52 bits make ten and the last is always zero.
pub(super) fn standard_geohash(point: Point) -> [u8; 11] {
    const ALPHABET: &[u8; 32] = b"0123456789bcdefghjkmnpqrstuvwxyz";
    let bits = Cell::in_spans(point, Span::STANDARD_LATITUDE, STEPS_MAX).bits;
    std::array::from_fn(|index| match index {
        10 => ALPHABET[0],
        _ => ALPHABET[(bits >> (52 - (index + 1) * 5)) as usize & 31],
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bits_are_interleaved_and_taken_apart() {
        for number in [0, 1, 2, 0xFFFF_FFFF, 0x8000_0001, 12_345_678] {
            assert_eq!(gather(spread(number)), number);
            assert_eq!(gather(spread(number) << 1), 0);
        }
        assert_eq!(spread(0b1011), 0b100_0101);
    }

    #[test]
    fn a_point_comes_back_within_its_cell() {
        let mut random = fastrand::Rng::with_seed(1);
        for _ in 0..10_000 {
            let point = Point {
                longitude: (random.f64() - 0.5) * 360.0,
                latitude: (random.f64() - 0.5) * 2.0 * Span::LATITUDE.max,
            };
            let back = Point::of_score(point.score() as f64);
            assert!((back.longitude - point.longitude).abs() < 6e-6, "{point:?} {back:?}");
            assert!((back.latitude - point.latitude).abs() < 3e-6, "{point:?} {back:?}");
            for steps in 1..=STEPS_MAX {
                let cell = Cell::of(point, steps);
                let (min, end) = cell.scores();
                assert!((min..end).contains(&(point.score() as f64)));
                let Area { longitude, latitude } = cell.area();
                assert!(longitude.contains(point.longitude) && latitude.contains(point.latitude));
            }
        }
    }

    #[test]
    fn neighbours_touch_and_go_around_the_earth() {
        let cell = Cell::of(Point { longitude: 10.0, latitude: 20.0 }, 8);
        let (here, east, north) = (cell.area(), cell.beside(1, 0).area(), cell.beside(0, 1).area());
        assert!((east.longitude.min - here.longitude.max).abs() < 1e-9 && east.latitude == here.latitude);
        assert!((north.latitude.min - here.latitude.max).abs() < 1e-9 && north.longitude == here.longitude);
        for (east, north) in [(1, 0), (-1, 0), (0, 1), (1, 1), (-1, 1), (1, -1)] {
            assert_eq!(cell.beside(east, north).beside(-east, -north), cell);
        }
        let last = Cell::of(Point { longitude: 179.99, latitude: 20.0 }, 8);
        assert_eq!(last.beside(1, 0).area().longitude.min, -180.0);
    }

    #[test]
    fn scores_that_nobody_made_are_read_too() {
        for (score, bits) in [
            (-1.0, u64::MAX),
            (1e30, 0),
            (-1e30, 1 << 63),
            (f64::INFINITY, 0),
            (f64::NEG_INFINITY, 1 << 63),
            (9_223_372_036_854_775_808.0, 1 << 63),
            (4.9, 4),
        ] {
            assert_eq!(bits_of_score(score), bits, "{score}");
        }
    }

    #[test]
    fn standard_texts() {
        let text = |longitude, latitude| String::from_utf8(standard_geohash(Point { longitude, latitude }).to_vec());
        assert_eq!(text(-5.6, 42.6).expect("ascii"), "ezs42e44yx0");
        assert_eq!(text(199.0 - 360.0, 90.0).expect("ascii").len(), 11);
    }
}
