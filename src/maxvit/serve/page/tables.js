// Any JSON as tables: a prediction is in its task's own form.

const MOST_ROWS = 20, MOST_LETTERS = 60;

const isRecord = (value) => typeof value === "object" && value !== null && !Array.isArray(value);
const isTable = (value) => isRecord(value) || (Array.isArray(value) && value.some(isRecord));

function element(name, ...children) {
  const made = document.createElement(name);
  made.append(...children);
  return made;
}

function words(value) {
  if (typeof value === "number") return String(Number.isInteger(value) ? value : Number(value.toPrecision(4)));
  const flat = Array.isArray(value) && !value.some((item) => typeof item === "object");
  const text = typeof value === "string" ? value : flat ? value.map(words).join(", ") : JSON.stringify(value);
  return text.length > MOST_LETTERS ? `${text.slice(0, MOST_LETTERS)}…` : text;
}

function heading(text, scope) {
  const cell = element("th", text);
  cell.scope = scope;
  return cell;
}

function table(head, rows) {
  const made = element("table");
  if (head) made.append(element("thead", element("tr", ...head.map((name) => heading(name, "col")))));
  made.append(element("tbody", ...rows.slice(0, MOST_ROWS)));
  return rows.length > MOST_ROWS ? [made, element("p", `and ${rows.length - MOST_ROWS} more`)] : [made];
}

// A list of records: a row each. A record: a row for each plain value, then each of its tables under its name.
export function tables(value) {
  if (Array.isArray(value)) {
    const columns = [...new Set(value.flatMap((row) => (isRecord(row) ? Object.keys(row) : [])))];
    return table(columns, value.map((row) => element("tr", ...columns.map((name) => element("td", words(row?.[name] ?? ""))))));
  }
  const entries = Object.entries(value), plain = entries.filter(([, found]) => !isTable(found));
  const rows = plain.map(([name, found]) => element("tr", heading(name, "row"), element("td", words(found))));
  const others = entries.filter(([, found]) => isTable(found));
  return [...(rows.length ? table(null, rows) : []), ...others.flatMap(([name, found]) => [element("h3", name), ...tables(found)])];
}
