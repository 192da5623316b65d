"""What stands in for the app on a sandboxed phone: `am`, `pm`, and the output they give back."""

from edgesr.benchmarks.devices.android_app import MODELS, PACKAGE, RESULTS
from edgesr.benchmarks.devices.parity import golden_for, payload_for

# What the app does with its arguments: looks for the model, leaves output and JSON.
AM = f"""
echo "$@" >>/data/am.log
while [ $# -gt 0 ]; do
  case $1 in --es) eval "$2='$3'"; shift 3;; *) shift;; esac
done
[ -n "$id" ] || exit 0
mkdir -p {RESULTS}
if [ -f "{MODELS}/$model" ] && [ -f "{MODELS}/$model.json" ]; then
  cp /data/golden.bin {RESULTS}/$id.bin
  echo '{{"edgesr_run":1,"init_ms":3.5,"first_ms":2.5,"peak_rss_kb":9000,"out_bytes":4608,'\
'"samples_ms":[1.5,2.5,2.0],"runtime":"LiteRT","backend":"'$backend'","full":true,'\
'"facts":{{"threads":'$threads'}}}}' >{RESULTS}/$id.json
else
  echo '{{"edgesr_run":1,"error":"no model is called '$model'"}}' >{RESULTS}/$id.json
fi
"""
PM = f"""
case $1 in
  path) [ -f /data/app.apk ] && echo package:/data/app/{PACKAGE}/base.apk;;
  install) for last; do :; done; cp "$last" /data/app.apk && echo Success;;
esac
"""
HELPFUL = {"am": AM, "pm": PM, "cmd": "exit 1", "svc": "true", "pidof": "true"}
"""The phone's programs when all is well."""


def record_golden(root, file):
    """The phone computes what this machine does with `file`."""
    output = golden_for(payload_for(file)).output
    (root / "data" / "golden.bin").write_bytes(output.tobytes())
