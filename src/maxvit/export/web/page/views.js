// What the network's outputs say, by their names: as a sentence, as lines with bars, and drawn over the picture.

const MOST = 5; // classes that are shown

const nameOf = (number) => about.class_names?.[number] ?? `class ${number}`;
const percent = (share) => `${(100 * share).toFixed(1)}%`;
const digits = (value) => String(Number(value.toPrecision(4)));
const colourOf = (number) => `rgb(${about.colours[number % about.colours.length].join(" ")})`;

function probabilities(logits) {
  const { multi_label: labels, temperature } = about.config;
  if (labels) return Array.from(logits, (value) => 1 / (1 + Math.exp(-value)));
  const top = logits.reduce((most, value) => Math.max(most, value), -Infinity);
  const shares = Array.from(logits, (value) => Math.exp((value - top) / temperature));
  const sum = shares.reduce((total, value) => total + value, 0);
  return shares.map((value) => value / sum);
}

// Lines: a name, a value from 0 to 1 for the bar, and its text.
function classes({ logits, novelty }) {
  const shares = probabilities(logits.data), { multi_label: labels, threshold } = about.config;
  const order = shares.map((_, i) => i).sort((a, b) => shares[b] - shares[a] || a - b);
  const enough = labels ? order.filter((i) => shares[i] >= threshold).length : 1;
  const lines = order.slice(0, Math.max(MOST, labels ? enough : 0)).map((i, place) => (
    { name: nameOf(i), bar: shares[i], text: percent(shares[i]), below: labels && place >= enough }
  ));
  const far = novelty ? novelty.data[0] : 0, none = far > about.novelty_limit;
  let said = labels ? order.slice(0, enough).map(nameOf).join(", ") || "None of the labels" : nameOf(order[0]);
  if (none) said = "None of these";
  const note = none ? `The picture is unlike those that the network was trained on (novelty ${far.toFixed(2)}, above ${about.novelty_limit}). Nearest:` : "";
  return { said, note, lines };
}

function scores({ shares }) {
  const values = Array.from(shares.data), mean = values.reduce((sum, share, i) => sum + share * (i + 1), 0);
  const deviation = Math.sqrt(values.reduce((sum, share, i) => sum + share * (i + 1 - mean) ** 2, 0));
  const lines = values.map((share, i) => ({ name: nameOf(i), bar: share, text: percent(share) }));
  return { said: `${mean.toFixed(1)} ± ${deviation.toFixed(1)} of ${values.length}`, note: "What share of people would give each score:", lines };
}

function numbers({ values }) {
  const lines = Array.from(values.data, (value, i) => ({ name: nameOf(i), value, text: digits(value) }));
  return { said: lines.map(({ name, text }) => `${name} ${text}`).join(", "), note: "", lines: lines.length > 1 ? lines : [] };
}

// The class of each pixel of a picture of this size, of logits (1, classes, rows, columns), resized bilinearly.
function classesAt({ dims: [, number, rows, columns], data }, height, width) {
  const taps = (size, from) => Array.from({ length: size }, (_, i) => {
    const at = Math.max(((i + 0.5) * from) / size - 0.5, 0), low = Math.min(Math.floor(at), from - 1);
    return [low, Math.min(low + 1, from - 1), at - low];
  });
  const down = taps(height, rows), across = taps(width, columns), found = new Uint8Array(height * width);
  const best = new Float32Array(height * width).fill(-Infinity);
  for (let k = 0; k < number; k++) {
    const map = data.subarray(k * rows * columns, (k + 1) * rows * columns);
    for (let y = 0, i = 0; y < height; y++) {
      const [top, bottom, part] = down[y];
      for (let x = 0; x < width; x++, i++) {
        const [left, right, share] = across[x];
        const above = map[top * columns + left] * (1 - share) + map[top * columns + right] * share;
        const below = map[bottom * columns + left] * (1 - share) + map[bottom * columns + right] * share;
        const value = above * (1 - part) + below * part;
        if (value > best[i]) [best[i], found[i]] = [value, k];
      }
    }
  }
  return found;
}

function mask({ logits }, { canvas, drawing }) {
  const { width, height } = canvas, found = classesAt(logits, height, width);
  const pixels = drawing.getImageData(0, 0, width, height), counts = new Map();
  for (let i = 0; i < found.length; i++) {
    const number = found[i], colour = about.colours[number];
    counts.set(number, (counts.get(number) ?? 0) + 1);
    const edge = (i % width !== width - 1 && found[i + 1] !== number) || (i + width < found.length && found[i + width] !== number);
    if (nameOf(number) === "background" && !edge) continue;
    for (let c = 0; c < 3; c++) pixels.data[4 * i + c] = edge ? colour[c] : (pixels.data[4 * i + c] + colour[c]) >> 1;
  }
  drawing.putImageData(pixels, 0, 0);
  const lines = [...counts].sort((a, b) => b[1] - a[1]).map(([number, count]) => (
    { name: nameOf(number), bar: count / found.length, text: percent(count / found.length), colour: colourOf(number) }
  ));
  return { said: lines.slice(0, 3).map(({ name, text }) => `${name} ${text}`).join(", "), note: "Share of the pixels:", lines };
}

function objects({ boxes, labels, scores }, { canvas, drawing, taken }) {
  const [down, across] = [canvas.height / taken[0], canvas.width / taken[1]], lines = [], counts = new Map();
  const letters = Math.max(12, Math.round(Math.max(canvas.width, canvas.height) / 36));
  Object.assign(drawing, { lineWidth: letters / 5, font: `${letters}px sans-serif`, textBaseline: "bottom" });
  for (let i = scores.data.length - 1; i >= 0; i--) { // the best are drawn last
    if (!(scores.data[i] > 0)) continue;
    const number = Number(labels.data[i]) - 1, name = nameOf(number), text = scores.data[i].toFixed(2);
    const [x1, y1, x2, y2] = Array.from(boxes.data.subarray(4 * i, 4 * i + 4), (at, k) => at * (k % 2 ? down : across));
    drawing.strokeStyle = drawing.fillStyle = colourOf(number);
    drawing.strokeRect(x1, y1, x2 - x1, y2 - y1);
    const label = `${name} ${text}`, foot = Math.max(y1, letters * 1.2);
    drawing.fillRect(x1, foot - letters * 1.2, drawing.measureText(label).width + 6, letters * 1.2);
    const [red, green, blue] = about.colours[number % about.colours.length];
    drawing.fillStyle = 0.299 * red + 0.587 * green + 0.114 * blue < 128 ? "white" : "black";
    drawing.fillText(label, x1 + 3, foot);
    counts.set(name, (counts.get(name) ?? 0) + 1);
    lines.unshift({ name, bar: scores.data[i], text, colour: colourOf(number), box: [x1, y1, x2, y2] });
  }
  const said = [...counts].map(([name, count]) => `${count} ${name}`).join(", ");
  return { said: said || "No objects", note: "", lines };
}

// Outputs, and the canvas with the picture -> { said, note, lines }.
function view(outputs, shown) {
  if (outputs.boxes) return objects(outputs, shown);
  if (outputs.shares) return scores(outputs);
  if (outputs.values) return numbers(outputs);
  return outputs.logits.dims.length === 4 ? mask(outputs, shown) : classes(outputs);
}

// Text, and elements inside.
function element(kind, settings = {}, ...inside) {
  const made = Object.assign(document.createElement(kind), settings);
  made.append(...inside);
  return made;
}

function swatch(colour) {
  const made = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  made.setAttribute("viewBox", "0 0 1 1");
  made.setAttribute("aria-hidden", "true");
  const square = document.createElementNS("http://www.w3.org/2000/svg", "rect");
  for (const [key, value] of Object.entries({ width: 1, height: 1, fill: colour })) square.setAttribute(key, value);
  made.append(square);
  return made;
}

function elements({ said, note, lines }) {
  const rows = lines.map(({ name, bar, value, text, below, colour }) => {
    const row = element("li", {}, element("span", {}, ...(colour ? [swatch(colour)] : []), name), element("b", { textContent: text }));
    row.classList.toggle("below", Boolean(below));
    row.dataset.value = bar ?? value;
    if (bar !== undefined) row.append(element("meter", { value: bar, ariaLabel: `${name}: ${text}` }));
    return row;
  });
  const parts = [element("p", { className: "said", textContent: said })];
  if (note) parts.push(element("p", { className: "quiet", textContent: note }));
  return [...parts, element("ol", {}, ...rows)];
}
