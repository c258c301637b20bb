//! x
use crate::fiber::{LinkOf, Machine};
use crate::machine::{Done, Job, Settings};
use std::rc::Rc;
pub(crate) struct JsMachine;
impl JsMachine { pub(crate) fn new(_link: Rc<LinkOf<Self>>, _s: &Settings) -> Result<Self, ()> { Ok(Self) } }
impl Machine for JsMachine { type Job = Job; type Done = Done; fn perform(&mut self, _j: Job) -> Done { Done::Loaded(Err(vec![])) } }
