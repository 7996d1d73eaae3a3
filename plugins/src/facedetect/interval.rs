//! The property `interval`: a number, `auto` or `default`.
//!
//! It is an enumeration so that both words can be written in a pipeline's description, and so that
//! programs in C and Python can go on setting a number: a property of text would take the number
//! for an address, and one of numbers takes no words.

use face_core::load::Interval;
use gst::glib;

/// The numbers by their names, which GLib wants as literals.
macro_rules! numbers {
    ($($variant:ident $number:literal $nick:literal)*) => {
        /// Which frames are looked at.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, glib::Enum)]
        #[repr(i32)]
        #[enum_type(name = "GstOnnxFaceInterval")]
        pub enum IntervalSetting {
            #[enum_value(name = "On live streams as many frames as cpu-target allows", nick = "auto")]
            Auto = -1,
            #[default]
            #[enum_value(name = "Every second frame above 20 per second, else every one", nick = "default")]
            Default = 0,
            $(
                #[enum_value(name = "Every n-th frame", nick = $nick)]
                $variant = $number,
            )*
        }
    };
}

numbers! {
    N1 1 "1" N2 2 "2" N3 3 "3" N4 4 "4" N5 5 "5" N6 6 "6" N7 7 "7" N8 8 "8" N9 9 "9" N10 10 "10"
    N11 11 "11" N12 12 "12" N13 13 "13" N14 14 "14" N15 15 "15" N16 16 "16" N17 17 "17"
    N18 18 "18" N19 19 "19" N20 20 "20" N21 21 "21" N22 22 "22" N23 23 "23" N24 24 "24"
    N25 25 "25" N26 26 "26" N27 27 "27" N28 28 "28" N29 29 "29" N30 30 "30" N31 31 "31"
    N32 32 "32" N33 33 "33" N34 34 "34" N35 35 "35" N36 36 "36" N37 37 "37" N38 38 "38"
    N39 39 "39" N40 40 "40" N41 41 "41" N42 42 "42" N43 43 "43" N44 44 "44" N45 45 "45"
    N46 46 "46" N47 47 "47" N48 48 "48" N49 49 "49" N50 50 "50" N51 51 "51" N52 52 "52"
    N53 53 "53" N54 54 "54" N55 55 "55" N56 56 "56" N57 57 "57" N58 58 "58" N59 59 "59"
    N60 60 "60"
}

impl From<IntervalSetting> for Interval {
    fn from(setting: IntervalSetting) -> Self {
        match setting {
            IntervalSetting::Auto => Interval::Auto,
            IntervalSetting::Default => Interval::Default,
            number => Interval::Every((number as i32).unsigned_abs()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nicks_are_the_texts_of_the_intervals() {
        let class = glib::EnumClass::new::<IntervalSetting>();
        let mut numbers = 0;
        for value in class.values() {
            let interval: Interval = value.nick().parse().unwrap();
            let setting: IntervalSetting = value.to_value(&class).get().unwrap();
            assert_eq!(Interval::from(setting), interval);
            numbers += u32::from(matches!(interval, Interval::Every(_)));
        }
        assert_eq!(numbers, Interval::MOST);
    }
}
