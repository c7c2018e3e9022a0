// Elements without markup: whatever is said by a model or a person goes in as text, and stays text.

/** An element. `on` holds listeners, `vars` custom properties of its style; other attributes are set as they are,
 * and left out where they are null or false. Children are nodes or text. */
export function el(tag, attributes = {}, ...children) {
  return filled(document.createElement(tag), attributes, children);
}

/** The same for SVG. */
export function svg(tag, attributes = {}, ...children) {
  return filled(document.createElementNS("http://www.w3.org/2000/svg", tag), attributes, children);
}

export function byId(id) {
  return document.getElementById(id);
}

/** Shows `node` where `isShown`; returns it. */
export function shown(node, isShown) {
  node.hidden = !isShown;
  return node;
}

/** For people who do not see the page. */
export function spoken(text) {
  return el("span", { class: "spoken" }, text);
}

/** Replaces what is in `node`; children that are null or false are left out. */
export function fill(node, ...children) {
  node.replaceChildren(...present(children));
}

const present = (children) => children.flat().filter((child) => child !== null && child !== undefined && child !== false);

function filled(node, { on = {}, vars = {}, ...attributes }, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (value === true) node.setAttribute(name, "");
    else if (value !== null && value !== undefined && value !== false) node.setAttribute(name, value);
  }
  for (const [name, value] of Object.entries(vars)) node.style.setProperty(name, value);
  for (const [name, listener] of Object.entries(on)) node.addEventListener(name, listener);
  node.append(...present(children));
  return node;
}
