//! The areas that can be searched, how far a point in one is from its middle, and which cells cover it.
//!
//! ```text
//!   circle    radius around a point            distance to the middle <= radius
//!   box       width and height around a point  north-south and east-west distance <= half of them
//!   polygon   corners                          a ray from the point crosses its sides an odd number of times
//! ```
//!
//! Nine cells cover a shape: the middle's and those around it, as fine as they may be. The finest steps that fit the
//! shape's size are tried first, one less where the neighbours do not reach the shape's bounds. Order and choice are the
//! real server's, as they are the order of results that nobody asked to be sorted.

use super::cell::{Cell, Point, STEPS_MAX, Span};

/// Quadratic mean radius of the earth, in metres.
const EARTH_RADIUS_M: f64 = 6_372_797.560_856;
/// Half the width of the Mercator map, in metres.
const MERCATOR_MAX_M: f64 = 20_037_726.37;

/// The length of the arc between two points, by the haversine formula, in metres.
pub(super) fn distance_m(from: Point, to: Point) -> f64 {
    let (longitude, latitude) = (from.longitude.to_radians_exactly(), from.latitude.to_radians_exactly());
    let (other_longitude, other_latitude) = (to.longitude.to_radians_exactly(), to.latitude.to_radians_exactly());
    let v = ((other_longitude - longitude) / 2.0).sin();
    if v == 0.0 {
        return latitude_distance_m(from.latitude, to.latitude);
    }
    let u = ((other_latitude - latitude) / 2.0).sin();
    let a = u * u + latitude.cos() * other_latitude.cos() * v * v;
    2.0 * EARTH_RADIUS_M * a.sqrt().asin()
}

fn latitude_distance_m(from: f64, to: f64) -> f64 {
    EARTH_RADIUS_M * (to.to_radians_exactly() - from.to_radians_exactly()).abs()
}

/// Degrees and radians as C programs convert them: by this quotient, rounded once.
trait Angle {
    fn to_radians_exactly(self) -> f64;
    fn to_degrees_exactly(self) -> f64;
}

const RADIANS_PER_DEGREE: f64 = std::f64::consts::PI / 180.0;

impl Angle for f64 {
    fn to_radians_exactly(self) -> f64 {
        self * RADIANS_PER_DEGREE
    }

    fn to_degrees_exactly(self) -> f64 {
        self / RADIANS_PER_DEGREE
    }
}

/// An outline; lengths in metres.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Outline {
    Circle { radius: f64 },
    Box { width: f64, height: f64 },
    Polygon(Vec<Point>),
}

/// An area to search.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Shape {
    pub(super) middle: Point,
    pub(super) outline: Outline,
}

impl Shape {
    /// A polygon around the mean of its corners, which is taken in space: the earth is round.
    pub(super) fn polygon(corners: Vec<Point>) -> Self {
        let (mut x, mut y, mut z) = (0.0, 0.0, 0.0);
        for corner in &corners {
            let (longitude, latitude) = (corner.longitude.to_radians_exactly(), corner.latitude.to_radians_exactly());
            x += latitude.cos() * longitude.cos();
            y += latitude.cos() * longitude.sin();
            z += latitude.sin();
        }
        let latitude = z.atan2(x.hypot(y)).to_degrees_exactly();
        let middle = Point {
            longitude: y.atan2(x).to_degrees_exactly().clamp(Span::LONGITUDE.min, Span::LONGITUDE.max),
            latitude: latitude.clamp(Span::LATITUDE.min, Span::LATITUDE.max),
        };
        Self { middle, outline: Outline::Polygon(corners) }
    }

    /// How far a point is from the middle, in metres, if it is inside.
    pub(super) fn distance_m(&self, point: Point) -> Option<f64> {
        match &self.outline {
            Outline::Circle { radius } => {
                let distance = distance_m(self.middle, point);
                let is_outside = distance > *radius;
                (!is_outside).then_some(distance)
            }
            Outline::Box { width, height } => {
                let is_outside = latitude_distance_m(point.latitude, self.middle.latitude) > height / 2.0 || {
                    let beside = Point { longitude: self.middle.longitude, latitude: point.latitude };
                    distance_m(point, beside) > width / 2.0
                };
                (!is_outside).then(|| distance_m(self.middle, point))
            }
            Outline::Polygon(corners) => is_inside(corners, point).then(|| distance_m(self.middle, point)),
        }
    }

    /// The least span of longitudes and that of latitudes that hold it.
    fn bounds(&self) -> (Span, Span) {
        let (half_width, half_height) = match &self.outline {
            Outline::Circle { radius } => (*radius, *radius),
            Outline::Box { width, height } => (width / 2.0, height / 2.0),
            Outline::Polygon(corners) => {
                return (
                    span(corners.iter().map(|corner| corner.longitude)),
                    span(corners.iter().map(|corner| corner.latitude)),
                );
            }
        };
        let Point { longitude, latitude } = self.middle;
        let height = (half_height / EARTH_RADIUS_M).to_degrees_exactly();
        // The side that is nearer to a pole spans more degrees.
        let widest = if latitude < 0.0 { latitude - height } else { latitude + height };
        let width = (half_width / EARTH_RADIUS_M / widest.to_radians_exactly().cos()).to_degrees_exactly();
        (
            Span { min: longitude - width, max: longitude + width },
            Span { min: latitude - height, max: latitude + height },
        )
    }

    /// How far its border is from its middle at most, in metres.
    fn reach_m(&self) -> f64 {
        match &self.outline {
            Outline::Circle { radius } => *radius,
            Outline::Box { width, height } => ((width / 2.0) * (width / 2.0) + (height / 2.0) * (height / 2.0)).sqrt(),
            Outline::Polygon(corners) => {
                corners.iter().map(|corner| distance_m(self.middle, *corner)).fold(0.0, f64::max)
            }
        }
    }

    /// Units of work that it takes to find out whether a place is inside.
    pub(super) fn units(&self) -> u64 {
        4 + if let Outline::Polygon(corners) = &self.outline { corners.len() as u64 / 4 } else { 0 }
    }

    /// The cells that cover it: the middle's first, each once.
    pub(super) fn cover(&self) -> impl Iterator<Item = Cell> + use<> {
        let (longitudes, latitudes) = self.bounds();
        let mut steps = steps_for(self.reach_m(), self.middle.latitude);
        // A circle's or a box's steps are one too fine at most; what a polygon's corners make of its middle nobody knows.
        let tries = if matches!(self.outline, Outline::Polygon(_)) { STEPS_MAX } else { 1 };
        for _ in 0..tries {
            if steps > 1 && !reaches(Cell::of(self.middle, steps), longitudes, latitudes) {
                steps -= 1;
            }
        }
        let cell = Cell::of(self.middle, steps);
        let area = cell.area();
        // What lies behind the shape's bounds is of no use; of two or four cells around the earth each is.
        let keeps = |inside: bool| steps < 2 || !inside;
        let is_wanted = [
            keeps(area.longitude.min < longitudes.min),
            keeps(area.longitude.max > longitudes.max),
            keeps(area.latitude.min < latitudes.min),
            keeps(area.latitude.max > latitudes.max),
        ];
        let [west, east, south, north] = is_wanted;
        let mut last = None;
        [(0, 0), (0, 1), (0, -1), (1, 0), (-1, 0), (1, 1), (-1, 1), (1, -1), (-1, -1)]
            .into_iter()
            .filter(move |(eastward, northward)| {
                let is_wanted = |direction: &i8, negative, positive| match direction {
                    0 => true,
                    1.. => positive,
                    _ => negative,
                };
                is_wanted(eastward, west, east) && is_wanted(northward, south, north)
            })
            .map(move |(eastward, northward)| cell.beside(eastward, northward))
            // Where cells are halves of the earth, some neighbours are the same, and follow each other.
            .filter(move |cell| last.replace(*cell) != Some(*cell))
    }
}

/// Whether the cells around one reach all bounds.
fn reaches(cell: Cell, longitudes: Span, latitudes: Span) -> bool {
    let is_short = cell.beside(0, 1).area().latitude.max < latitudes.max
        || cell.beside(0, -1).area().latitude.min > latitudes.min
        || cell.beside(1, 0).area().longitude.max < longitudes.max
        || cell.beside(-1, 0).area().longitude.min > longitudes.min;
    !is_short
}

/// How fine cells may be whose neighbours reach that far.
fn steps_for(reach_m: f64, latitude: f64) -> u32 {
    if reach_m == 0.0 {
        return STEPS_MAX;
    }
    let (mut reach_m, mut steps) = (reach_m, 1);
    while reach_m < MERCATOR_MAX_M {
        reach_m *= 2.0;
        steps += 1;
    }
    steps -= 2;
    // Towards the poles a degree of longitude is short.
    steps -= i32::from(latitude.abs() > 66.0) + i32::from(latitude.abs() > 80.0);
    steps.clamp(1, STEPS_MAX as i32) as u32
}

fn span(values: impl Iterator<Item = f64>) -> Span {
    let nothing = Span { min: f64::INFINITY, max: f64::NEG_INFINITY };
    values.fold(nothing, |span, value| Span { min: span.min.min(value), max: span.max.max(value) })
}

/// Whether an eastward ray from the point crosses the sides an odd number of times, on the flat map.
fn is_inside(corners: &[Point], point: Point) -> bool {
    let from = corners.last().into_iter().chain(corners);
    let crossings = from.zip(corners).filter(|(before, corner)| {
        let is_crossed = (corner.latitude > point.latitude) != (before.latitude > point.latitude);
        let slope = (before.longitude - corner.longitude) * (point.latitude - corner.latitude);
        is_crossed && point.longitude < slope / (before.latitude - corner.latitude) + corner.longitude
    });
    crossings.count() % 2 == 1
}

#[cfg(test)]
mod tests {
    use super::*;

    fn random_point(random: &mut fastrand::Rng) -> Point {
        Point { longitude: (random.f64() - 0.5) * 359.0, latitude: (random.f64() - 0.5) * 169.0 }
    }

    #[test]
    fn distances() {
        let palermo = Point { longitude: 13.361_389, latitude: 38.115_556 };
        let catania = Point { longitude: 15.087_269, latitude: 37.502_669 };
        assert!((distance_m(palermo, catania) - 166_274.15).abs() < 1.0);
        assert_eq!(distance_m(palermo, palermo), 0.0);
        let north = Point { latitude: 39.115_556, ..palermo };
        assert!((distance_m(palermo, north) - 111_226.0).abs() < 10.0);
    }

    #[test]
    fn the_cells_hold_every_point_inside() {
        let mut random = fastrand::Rng::with_seed(2);
        let mut inside = 0;
        for _ in 0..3_000 {
            let middle = random_point(&mut random);
            // Far from the poles and the date line, where the real server's nine cells miss points too.
            let middle = Point { longitude: middle.longitude * 0.6, latitude: middle.latitude * 0.6 };
            let size = 10f64.powf(random.f64() * 5.8);
            let shape = match random.u8(..3) {
                0 => Shape { middle, outline: Outline::Circle { radius: size } },
                1 => Shape { middle, outline: Outline::Box { width: size, height: size * random.f64() } },
                _ => {
                    let degrees = size / 100_000.0;
                    let corner = |random: &mut fastrand::Rng| Point {
                        longitude: middle.longitude + degrees * (random.f64() - 0.5),
                        latitude: middle.latitude + degrees * (random.f64() - 0.5),
                    };
                    Shape::polygon((0..random.usize(3..7)).map(|_| corner(&mut random)).collect())
                }
            };
            let cells: Vec<Cell> = shape.cover().collect();
            for _ in 0..50 {
                let degrees = size / 60_000.0;
                let point = Point {
                    longitude: middle.longitude + degrees * (random.f64() - 0.5),
                    latitude: middle.latitude + degrees * (random.f64() - 0.5),
                };
                let score = point.score() as f64;
                let point = Point::of_score(score);
                if shape.distance_m(point).is_some() {
                    inside += 1;
                    let holds = |cell: &Cell| (cell.scores().0..cell.scores().1).contains(&score);
                    assert_eq!(cells.iter().filter(|cell| holds(cell)).count(), 1, "{shape:?} {point:?}");
                }
            }
        }
        assert!(inside > 20_000, "{inside}");
    }

    #[test]
    fn a_shape_around_the_earth_has_each_cell_once() {
        let shape = Shape {
            middle: Point { longitude: 1.0, latitude: 1.0 },
            outline: Outline::Circle { radius: f64::INFINITY },
        };
        let cells: Vec<Cell> = shape.cover().collect();
        assert_eq!(cells.len(), 4, "{cells:?}");
    }
}
