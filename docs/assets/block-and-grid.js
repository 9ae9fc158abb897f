// The interactive picture of "How MaxViT works": which tokens the one that was picked attends to, in block and in grid
// attention. It computes what src/maxvit/layers/partition.py computes, and loads nothing but the picture beside it.

(() => {
  const HOME = document.currentScript.src.replace(/[^/]*$/, "");
  const SIZE = 7; // tokens of a window and of a grid along each side, at 224 pixels

  // Where the tokens of one side lie: groups of `count` tokens that are `step` apart.
  function side(tokens, axis) {
    const padded = Math.ceil(tokens / SIZE) * SIZE;
    return { tokens, padded, step: axis === "grid" ? padded / SIZE : 1 };
  }

  // The places along a side of the tokens that attend together with the one at `place`, padding among them.
  function together({ padded, step }, place) {
    const first = step === 1 ? Math.floor(place / SIZE) * SIZE : place % step;
    return Array.from({ length: SIZE }, (_, i) => first + i * step).filter((at) => at < padded);
  }

  // One of the three panels: rows and columns that are lit, as lists of places.
  function lit(axis, map, at) {
    const [rows, columns] = map.map((tokens) => side(tokens, axis === "both" ? "grid" : axis));
    const mine = [together(rows, at[0]), together(columns, at[1])];
    if (axis !== "both") return mine;
    // grid attention asks tokens that have already heard from their windows
    return mine.map((places, i) => {
      const windows = new Set(places.filter((place) => place < map[i]).map((place) => Math.floor(place / SIZE)));
      return Array.from({ length: map[i] }, (_, place) => place).filter((place) => windows.has(Math.floor(place / SIZE)));
    });
  }

  const PANELS = [
    { axis: "block", title: "Block attention", about: "its window: neighbours" },
    { axis: "grid", title: "Grid attention", about: "its grid: spread over the whole image" },
    { axis: "both", title: "One after the other", about: "whose information reaches it" },
  ];

  function element(tag, attributes = {}, ...children) {
    const made = Object.assign(document.createElement(tag), attributes);
    made.append(...children);
    return made;
  }

  function slider(label, value, changed) {
    const output = element("output", { textContent: value });
    const input = element("input", { type: "range", min: 64, max: 448, step: 4, value });
    input.setAttribute("aria-label", `${label} of the image in pixels`);
    input.addEventListener("input", () => { output.textContent = input.value; changed(Number(input.value)); });
    return element("label", {}, `${label} `, input, output);
  }

  function start(box) {
    const state = { height: 224, width: 224, stage: 2, at: null };
    const photo = new Image();
    const status = element("p", { className: "bg-status" });
    status.setAttribute("role", "status");
    const views = PANELS.map((panel) => {
      const canvas = element("canvas", { tabIndex: 0 });
      canvas.setAttribute("role", "img");
      const words = element("figcaption");
      return { ...panel, canvas, words, figure: element("figure", {}, element("strong", { textContent: panel.title }), canvas, words) };
    });

    const map = () => [state.height, state.width].map((pixels) => Math.ceil(pixels / 2 ** (state.stage + 1)));

    function draw() {
      const tokens = map();
      state.at = (state.at ?? tokens.map((n) => Math.floor(n * 0.45))).map((place, i) => Math.min(place, tokens[i] - 1));
      const style = getComputedStyle(box);
      for (const view of views) drawPanel(view, tokens, style);
      const padded = tokens.map((n) => side(n, "block").padded);
      const missing = padded.map((n, i) => n - tokens[i]);
      status.textContent = `Stage ${state.stage}: a map of ${tokens.join(" × ")} tokens. Picked: row ${state.at[0] + 1}, column ` +
        `${state.at[1] + 1}. ` + (missing.some(Boolean)
          ? `7 does not divide the map, so ${missing[0]} rows and ${missing[1]} columns of padding (hatched) are added; nothing attends to them.`
          : "7 divides both sides: nothing is padded.");
    }

    function drawPanel({ axis, canvas, words, about }, tokens, style) {
      const padded = tokens.map((n) => side(n, axis === "both" ? "grid" : axis).padded);
      const cell = Math.max(3, Math.floor(560 / Math.max(...padded)));
      canvas.width = padded[1] * cell + 1;
      canvas.height = padded[0] * cell + 1;
      const context = canvas.getContext("2d"), [height, width] = tokens.map((n) => n * cell);
      if (photo.complete && photo.naturalWidth) {
        context.filter = "grayscale(0.6)";
        context.drawImage(photo, 0, 0, width, height);
        context.filter = "none";
      }
      context.fillStyle = style.getPropertyValue("--bg-veil");
      context.fillRect(0, 0, width, height);
      hatch(context, [width, height], [canvas.width, canvas.height], style);
      context.strokeStyle = style.getPropertyValue("--bg-line");
      context.lineWidth = 1;
      const every = cell >= 6 ? 1 : SIZE; // thin lines where there is room
      for (let row = 0; row <= padded[0]; row += every) line(context, 0, row * cell, canvas.width, row * cell);
      for (let column = 0; column <= padded[1]; column += every) line(context, column * cell, 0, column * cell, canvas.height);

      const [rows, columns] = lit(axis, tokens, state.at);
      let seen = 0;
      for (const row of rows) {
        for (const column of columns) {
          const real = row < tokens[0] && column < tokens[1];
          if (real) {
            seen += 1;
            if (photo.naturalWidth) context.drawImage(photo, column / tokens[1] * photo.naturalWidth, row / tokens[0] * photo.naturalHeight,
              photo.naturalWidth / tokens[1], photo.naturalHeight / tokens[0], column * cell, row * cell, cell, cell);
            context.fillStyle = style.getPropertyValue("--bg-lit");
            context.fillRect(column * cell, row * cell, cell, cell);
          }
          if (axis !== "both") {
            context.strokeStyle = style.getPropertyValue(real ? "--bg-edge" : "--bg-line");
            context.strokeRect(column * cell + 0.5, row * cell + 0.5, cell, cell);
          }
        }
      }
      context.lineWidth = 3;
      for (const [colour, grow] of [["#fff", 2], [style.getPropertyValue("--bg-own"), 0]]) {
        context.strokeStyle = colour;
        context.strokeRect(state.at[1] * cell - grow + 0.5, state.at[0] * cell - grow + 0.5, cell + 2 * grow, cell + 2 * grow);
      }
      const all = tokens[0] * tokens[1];
      words.textContent = axis === "both" ? `${about}: ${seen} of ${all} tokens, ${Math.round(100 * seen / all)} %`
        : `${about}; ${seen} tokens` + (axis === "grid" ? `, ${padded.map((n) => n / SIZE).join(" and ")} apart` : "");
      canvas.setAttribute("aria-label", `${words.textContent}. Click to pick a token, or move it with the arrow keys.`);
    }

    function line(context, fromX, fromY, toX, toY) {
      context.beginPath();
      context.moveTo(fromX + 0.5, fromY + 0.5);
      context.lineTo(toX + 0.5, toY + 0.5);
      context.stroke();
    }

    // Padding lies below and to the right of the map.
    function hatch(context, [width, height], [outerWidth, outerHeight], style) {
      context.save();
      context.beginPath();
      context.rect(width, 0, outerWidth - width, outerHeight);
      context.rect(0, height, width, outerHeight - height);
      context.clip();
      context.fillStyle = style.getPropertyValue("--bg-padding");
      context.fillRect(0, 0, outerWidth, outerHeight);
      context.strokeStyle = style.getPropertyValue("--bg-hatch");
      context.lineWidth = 2;
      for (let at = -outerHeight; at < outerWidth; at += 10) line(context, at, outerHeight, at + outerHeight, 0);
      context.restore();
    }

    function pick(canvas, event) {
      const frame = canvas.getBoundingClientRect(), tokens = map(), padded = tokens.map((n) => side(n, "grid").padded);
      const place = [(event.clientY - frame.top) / frame.height, (event.clientX - frame.left) / frame.width];
      state.at = place.map((share, i) => Math.max(0, Math.min(Math.floor(share * padded[i]), tokens[i] - 1)));
      draw();
    }

    for (const { canvas } of views) {
      canvas.addEventListener("pointerdown", (event) => pick(canvas, event));
      canvas.addEventListener("pointermove", (event) => { if (event.buttons) pick(canvas, event); });
      canvas.addEventListener("keydown", (event) => {
        const move = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] }[event.key];
        if (!move) return;
        event.preventDefault();
        state.at = state.at.map((place, i) => Math.max(0, place + move[i]));
        draw();
      });
    }

    const stages = element("select");
    for (const stage of [1, 2, 3, 4]) stages.append(new Option(`${stage}: one token for ${2 ** (stage + 1)} × ${2 ** (stage + 1)} pixels`, stage));
    stages.value = state.stage;
    stages.addEventListener("change", () => { state.stage = Number(stages.value); state.at = null; draw(); });
    box.replaceChildren(
      element("div", { className: "bg-controls" },
        slider("Height", state.height, (height) => { state.height = height; draw(); }),
        slider("Width", state.width, (width) => { state.width = width; draw(); }),
        element("label", {}, "Stage ", stages)),
      element("div", { className: "bg-panels" }, ...views.map((view) => view.figure)),
      status);
    photo.addEventListener("load", draw);
    photo.src = `${HOME}cat.jpg`;
    draw();
    // light and dark: the theme's switch changes an attribute of the body
    new MutationObserver(draw).observe(document.body, { attributes: true, attributeFilter: ["data-md-color-scheme"] });
  }

  const box = document.getElementById("block-and-grid");
  if (box) start(box);
})();
