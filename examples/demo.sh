#!/usr/bin/env bash
# Train on real handwritten digits, evaluate, predict, open the report.   bash examples/demo.sh BIN [RUN]
set -euo pipefail
bin=$1 run=${2:-runs/demo}

show() { echo; echo "\$ maxvit $*"; "$bin/maxvit" "$@"; }

if [ -f "$run/report.html" ]; then
    echo "==> $run is trained already; make clean removes it"
else
    show train --out "$run" --continue  # it may have been interrupted
fi
show evaluate "$run/best.safetensors"
"$bin/python" examples/save_digits.py "$run/images"
show predict "$run/best.safetensors" "$run/images"
# in a terminal with a display the page opens itself; elsewhere its name is printed
if [ -t 1 ] && { [ -n "${DISPLAY:-}${WAYLAND_DISPLAY:-}" ] || [ "$(uname)" = Darwin ]; }; then
    show report "$run" --open
else
    echo; echo "Open $run/report.html in a browser: curves, mistakes, and what the network attends to."
fi
