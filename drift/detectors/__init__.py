"""Drift tests: river's, and the same tests over many series at once.

```
base                the port: interface of all detectors
alarm               alarm of a test
river_adapter       any detector of river, by its name
plain_state         state of a river object as plain numbers
lane_detector       implements the port for tests over many series at once
page_hinkley        Page-Hinkley on one signal, with evidence and state in plain numbers
page_hinkley_lanes  the same test over many signals, bit for bit
adwin_lanes         ADWIN over many signals; same alarms as river, bounded memory
adwin_buckets       the buckets of ADWIN windows, and their growth
adwin_borders       checks an ADWIN window's borders for different means on both sides
series              values of many signals in one array, cut into blocks
```
"""
