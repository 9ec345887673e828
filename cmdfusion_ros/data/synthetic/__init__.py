"""A made-up street and the sensors that look at it: numpy only. From the bottom up:

`cells` (hashed noise), `solids` (what bodies are made of), `hits` (where a ray meets one), `ground`
(road, kerb, terrain), `rays` (all rays of a sensor against all bodies), `vehicles`, `people`,
`plants`, `buildings`, `furniture` (bodies of the street's things), `street` and `lots` (where
things stand), `world` (the street as it is at a time), `rigs` (sensors), `light`, `looks`,
`camera`, `lidar`, `sequence` (Frames), `folders`.
"""
