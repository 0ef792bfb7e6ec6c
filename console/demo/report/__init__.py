"""The report of a demonstration.

```
report    `report.json`, typed
page      `report.html`
pictures  chooses what pictures show
plots     draws pictures as SVG
```
"""
