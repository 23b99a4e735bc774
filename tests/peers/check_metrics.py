"""A parser of Prometheus' text format reads a page: check_metrics.py URL"""

import sys
import urllib.request

from prometheus_client.parser import text_string_to_metric_families

page = urllib.request.urlopen(sys.argv[1]).read().decode()
families = list(text_string_to_metric_families(page))
assert len(families) > 15, families
for family in families:
    assert family.name.startswith("socketio_") and family.documentation and family.samples or family.name in (
        "socketio_clients", "socketio_rooms", "socketio_refused"), family
histogram = next(family for family in families if family.type == "histogram")
assert histogram.samples[0].name.endswith("_bucket"), histogram
print("ok", len(families), "families")
