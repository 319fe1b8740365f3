//! `TIMESTAMP WITH TIME ZONE` in SQL: an instant, whether the session has a zone or not.

use std::sync::{Arc, OnceLock, Weak};

use arrow::datatypes::{DataType, Field, FieldRef, TimeUnit};
use datafusion::common::Result;
use datafusion::execution::session_state::SessionState;
use datafusion::logical_expr::planner::TypePlanner;
use datafusion::prelude::SessionContext;
use datafusion::sql::sqlparser::ast::{DataType as SqlType, TimezoneInfo};
use parking_lot::RwLock;

/// The zone of instants in a session that has none.
const ZONE: &str = "UTC";

/// Without a session zone DataFusion makes a timestamp without zone of it, which a column of a zone
/// then takes for local time.
#[derive(Debug, Default)]
pub(super) struct ZonedTypes {
    session: OnceLock<Weak<RwLock<SessionState>>>,
}

impl ZonedTypes {
    /// Takes the session whose zone counts.
    pub fn attach(&self, context: &SessionContext) {
        // It is set once, where the session is made.
        let _ = self.session.set(context.state_weak_ref());
    }

    fn has_zone(&self) -> bool {
        let state = self.session.get().and_then(Weak::upgrade);
        state.is_some_and(|state| state.read().config().options().execution.time_zone.is_some())
    }
}

impl TypePlanner for ZonedTypes {
    fn plan_type_field(&self, sql_type: &SqlType) -> Result<Option<FieldRef>> {
        let SqlType::Timestamp(precision, TimezoneInfo::Tz | TimezoneInfo::WithTimeZone) = sql_type
        else {
            return Ok(None);
        };
        let unit = match precision {
            Some(0) => TimeUnit::Second,
            Some(3) => TimeUnit::Millisecond,
            Some(6) => TimeUnit::Microsecond,
            None | Some(9) => TimeUnit::Nanosecond,
            Some(_) => return Ok(None),
        };
        if self.has_zone() {
            return Ok(None);
        }
        let data_type = DataType::Timestamp(unit, Some(ZONE.into()));
        // An unnamed field, as DataFusion makes of a type.
        Ok(Some(Arc::new(Field::new("", data_type, true))))
    }
}
