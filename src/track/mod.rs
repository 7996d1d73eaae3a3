//! Multi-object tracking of faces: Kalman prediction and two-stage association (ByteTrack).
