//! The words of a template for dates and times, in the order in which they are looked for: a word that another one
//! begins with comes after it.

/// How the letters of a word are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LetterCase {
    Upper,
    /// The first letter is a capital.
    Title,
    Lower,
}

/// The two ways to name a date, which a template for reading must not mix.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DateConvention {
    Gregorian,
    IsoWeek,
}

/// What a word of a template stands for. A number is the count of digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DatePattern {
    Era {
        is_dotted: bool,
    },
    Meridiem {
        is_dotted: bool,
    },
    Century,
    DayName,
    DayAbbreviation,
    DayOfYear,
    DayOfMonth,
    DayOfWeek,
    Fraction(u8),
    /// `FX`: from here on, spaces and separators of the text count.
    Exact,
    Hour,
    HalfDayHour,
    IsoDayOfYear,
    IsoDayOfWeek,
    IsoWeek,
    IsoYear(u8),
    JulianDay,
    Minute,
    Month,
    MonthName,
    MonthAbbreviation,
    Millisecond,
    Microsecond,
    Offset,
    Quarter,
    RomanMonth,
    SecondOfDay,
    Second,
    ZoneHour,
    ZoneMinute,
    ZoneName,
    Week,
    WeekOfMonth,
    /// `Y,YYY`.
    GroupedYear,
    Year(u8),
}

impl DatePattern {
    /// Whether it is read as a number, so that a number before it ends at its own width.
    pub fn is_number(self) -> bool {
        use DatePattern::*;
        !matches!(
            self,
            Era { .. }
                | Meridiem { .. }
                | DayName
                | DayAbbreviation
                | Exact
                | MonthName
                | MonthAbbreviation
                | Offset
                | RomanMonth
                | ZoneHour
                | ZoneName
        )
    }

    pub fn convention(self) -> Option<DateConvention> {
        use DatePattern::*;
        match self {
            DayOfYear | DayOfMonth | DayOfWeek | Month | MonthName | MonthAbbreviation | RomanMonth | Week
            | WeekOfMonth | GroupedYear | Year(_) => Some(DateConvention::Gregorian),
            IsoDayOfYear | IsoDayOfWeek | IsoWeek | IsoYear(_) => Some(DateConvention::IsoWeek),
            _ => None,
        }
    }

    /// Whether only a date has it, and no interval.
    pub fn needs_date(self) -> bool {
        use DatePattern::*;
        matches!(
            self,
            Era { .. }
                | DayName
                | DayAbbreviation
                | DayOfWeek
                | IsoDayOfWeek
                | MonthName
                | MonthAbbreviation
                | Offset
                | ZoneHour
                | ZoneMinute
                | ZoneName
        )
    }
}

/// The spellings of a word, by [`LetterCase`]; an empty one does not exist.
type Spellings = [&'static str; 3];

const CASES: [LetterCase; 3] = [LetterCase::Upper, LetterCase::Title, LetterCase::Lower];

const WORDS: [(Spellings, DatePattern); 54] = [
    (["A.D.", "", "a.d."], DatePattern::Era { is_dotted: true }),
    (["A.M.", "", "a.m."], DatePattern::Meridiem { is_dotted: true }),
    (["AD", "", "ad"], DatePattern::Era { is_dotted: false }),
    (["AM", "", "am"], DatePattern::Meridiem { is_dotted: false }),
    (["B.C.", "", "b.c."], DatePattern::Era { is_dotted: true }),
    (["BC", "", "bc"], DatePattern::Era { is_dotted: false }),
    (["CC", "", "cc"], DatePattern::Century),
    (["DAY", "Day", "day"], DatePattern::DayName),
    (["DDD", "", "ddd"], DatePattern::DayOfYear),
    (["DD", "", "dd"], DatePattern::DayOfMonth),
    (["DY", "Dy", "dy"], DatePattern::DayAbbreviation),
    (["D", "", "d"], DatePattern::DayOfWeek),
    (["FF1", "", "ff1"], DatePattern::Fraction(1)),
    (["FF2", "", "ff2"], DatePattern::Fraction(2)),
    (["FF3", "", "ff3"], DatePattern::Fraction(3)),
    (["FF4", "", "ff4"], DatePattern::Fraction(4)),
    (["FF5", "", "ff5"], DatePattern::Fraction(5)),
    (["FF6", "", "ff6"], DatePattern::Fraction(6)),
    (["FX", "", "fx"], DatePattern::Exact),
    (["HH24", "", "hh24"], DatePattern::Hour),
    (["HH12", "", "hh12"], DatePattern::HalfDayHour),
    (["HH", "", "hh"], DatePattern::HalfDayHour),
    (["IDDD", "", "iddd"], DatePattern::IsoDayOfYear),
    (["ID", "", "id"], DatePattern::IsoDayOfWeek),
    (["IW", "", "iw"], DatePattern::IsoWeek),
    (["IYYY", "", "iyyy"], DatePattern::IsoYear(4)),
    (["IYY", "", "iyy"], DatePattern::IsoYear(3)),
    (["IY", "", "iy"], DatePattern::IsoYear(2)),
    (["I", "", "i"], DatePattern::IsoYear(1)),
    (["J", "", "j"], DatePattern::JulianDay),
    (["MI", "", "mi"], DatePattern::Minute),
    (["MM", "", "mm"], DatePattern::Month),
    (["MONTH", "Month", "month"], DatePattern::MonthName),
    (["MON", "Mon", "mon"], DatePattern::MonthAbbreviation),
    (["MS", "", "ms"], DatePattern::Millisecond),
    (["OF", "", "of"], DatePattern::Offset),
    (["P.M.", "", "p.m."], DatePattern::Meridiem { is_dotted: true }),
    (["PM", "", "pm"], DatePattern::Meridiem { is_dotted: false }),
    (["Q", "", "q"], DatePattern::Quarter),
    (["RM", "", "rm"], DatePattern::RomanMonth),
    (["SSSSS", "", "sssss"], DatePattern::SecondOfDay),
    (["SSSS", "", "ssss"], DatePattern::SecondOfDay),
    (["SS", "", "ss"], DatePattern::Second),
    (["TZH", "", "tzh"], DatePattern::ZoneHour),
    (["TZM", "", "tzm"], DatePattern::ZoneMinute),
    (["TZ", "", "tz"], DatePattern::ZoneName),
    (["US", "", "us"], DatePattern::Microsecond),
    (["WW", "", "ww"], DatePattern::Week),
    (["W", "", "w"], DatePattern::WeekOfMonth),
    (["Y,YYY", "", "y,yyy"], DatePattern::GroupedYear),
    (["YYYY", "", "yyyy"], DatePattern::Year(4)),
    (["YYY", "", "yyy"], DatePattern::Year(3)),
    (["YY", "", "yy"], DatePattern::Year(2)),
    (["Y", "", "y"], DatePattern::Year(1)),
];

/// A word of a template.
#[derive(Debug, Clone, Copy)]
pub struct TemplateWord {
    index: u8,
    pub case: LetterCase,
    pub pattern: DatePattern,
}

impl TemplateWord {
    /// The word that a template begins with.
    pub fn at_start_of(template: &str) -> Option<TemplateWord> {
        (0..).zip(&WORDS).find_map(|(index, (spellings, pattern))| {
            let is_here = |spelling: &str| !spelling.is_empty() && template.starts_with(spelling);
            let (_, case) = spellings.iter().zip(CASES).find(|(spelling, _)| is_here(spelling))?;
            Some(TemplateWord { index, case, pattern: *pattern })
        })
    }

    /// As it is written in the template.
    pub fn text(self) -> &'static str {
        let spellings = WORDS.get(usize::from(self.index)).map(|(spellings, _)| spellings);
        spellings.and_then(|spellings| spellings.get(self.case as usize)).copied().unwrap_or_default()
    }
}
