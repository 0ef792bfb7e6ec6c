"""Drift tests: river's, and the same tests over many series at once.

```
base                the port: what every detector is
alarm               what a test found
river_adapter       any detector of river, by its name
plain_state         what an object of river remembers, as plain numbers
lane_detector       the port, for tests over many series at once
page_hinkley        Page-Hinkley on one signal, with evidence and state in plain numbers
page_hinkley_lanes  the same test over many signals, bit for bit
adwin_lanes         ADWIN over many signals; same alarms as river, bounded memory
adwin_buckets       the buckets of an ADWIN window, and how they grow
adwin_borders       the cuts of an ADWIN window: is the mean different on both sides?
series              values of many signals laid end to end, cut into blocks
```
"""
