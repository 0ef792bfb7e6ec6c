"""From records to normalised windows, or dead letters.

```
slices         slices of a batch by partition
decode         decodes windows and checks their form
validation     checks windows against the model that reads them
batch_result   result of a batch, by row
stamps         which version serves a window; fences in the ledger
stamping       normalises windows in the units of their version
letters        dead letters of refused records
retries        retries of dead letters: one per origin is accepted
first_origins  origins of the dead letters of a partition
```
"""
