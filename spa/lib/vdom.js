// Descriptions of elements, and what brings the page in line with them. The only module that touches elements' content:
// text becomes text nodes, nothing is ever parsed as HTML, and an address that could run a script is dropped.

/**
 * @typedef {string | number | boolean | null | undefined | VNode | Children} Child
 * @typedef {Child[]} Children
 * @typedef {{tag: string, key: unknown, props: Record<string, any>, children: (VNode | string)[], node?: Element, nodes?: (Element | Text)[]}} VNode
 */

const SVG = "http://www.w3.org/2000/svg";
// Not attributes but what an element is right now; a description always wins over a click.
const STATES = new Set(["checked", "indeterminate"]);
const ADDRESSES = new Set(["href", "src", "action"]);
const SAFE_ADDRESS = /^(?:https?:\/\/|\/(?!\/)|#|\?)/i;
/** @type {WeakMap<Element, Record<string, (event: any) => void>>} */
const handlers = new WeakMap();
/** @type {WeakMap<Element, VNode>} */
const roots = new WeakMap();

/**
 * Describe an element. Props are attributes; `on…` are listeners, `style` an object of CSS properties, `key` what makes it
 * the same element among its siblings, `ref` a function that gets the element once it is made.
 * @param {string} tag
 * @param {Record<string, any> | null} [props]
 * @param {...Child} children
 * @returns {VNode}
 */
export function h(tag, props, ...children) {
  const { key, ...rest } = props ?? {};
  return { tag, key, props: rest, children: flatten(children, []) };
}

/**
 * Make the content of *root* what *child* describes; elements that stay keep their focus, scroll and typed text.
 * @param {Element} root
 * @param {Child} child
 */
export function render(root, child) {
  const next = h("root", null, child);
  const before = roots.get(root);
  next.node = root;
  patchChildren(root, before, next, root.namespaceURI === SVG);
  roots.set(root, next);
}

/**
 * @param {Child[]} children
 * @param {(VNode | string)[]} into
 */
function flatten(children, into) {
  for (const child of children) {
    if (Array.isArray(child)) flatten(child, into);
    else if (child === null || child === undefined || child === false || child === true || child === "") continue;
    else if (typeof child === "object") into.push(child);
    else into.push(String(child));
  }
  return into;
}

/**
 * @param {VNode | string} vnode
 * @param {boolean} svg
 * @returns {Element | Text}
 */
function create(vnode, svg) {
  if (typeof vnode === "string") return document.createTextNode(vnode);
  const inSvg = svg || vnode.tag === "svg";
  const node = inSvg ? document.createElementNS(SVG, vnode.tag) : document.createElement(vnode.tag);
  vnode.node = node;
  patchChildren(node, undefined, vnode, inSvg);
  setProps(node, {}, vnode.props);
  if (vnode.props.ref) vnode.props.ref(node);
  return node;
}

/**
 * @param {VNode} before
 * @param {VNode} next
 * @param {boolean} svg
 */
function patch(before, next, svg) {
  const node = /** @type {Element} */ (before.node);
  next.node = node;
  patchChildren(node, before, next, svg || next.tag === "svg");
  setProps(node, before.props, next.props);
}

/**
 * @param {Element} parent
 * @param {VNode | undefined} before
 * @param {VNode} next
 * @param {boolean} svg
 */
function patchChildren(parent, before, next, svg) {
  const old = before?.children ?? [];
  const oldNodes = before?.nodes ?? [];
  const taken = matchChildren(old, next.children);
  if (!before) parent.replaceChildren();
  const kept = new Set(taken);
  // What goes, goes first: then what stays is rarely moved, and an element that is not moved keeps the focus.
  oldNodes.forEach((node, index) => {
    if (!kept.has(index)) node.remove();
  });
  next.nodes = next.children.map((child, index) => {
    const from = taken[index];
    if (from < 0) return create(child, svg);
    const node = oldNodes[from];
    if (typeof child === "string") {
      if (old[from] !== child) /** @type {Text} */ (node).data = child;
    } else patch(/** @type {VNode} */ (old[from]), child, svg);
    return node;
  });
  /** @type {ChildNode | null} */
  let place = parent.firstChild;
  for (const node of next.nodes) {
    if (node === place) place = place.nextSibling;
    else parent.insertBefore(node, place);
  }
}

/**
 * Return for each new child the index of the old one that becomes it, or -1.
 * @param {(VNode | string)[]} old
 * @param {(VNode | string)[]} next
 * @returns {number[]}
 */
function matchChildren(old, next) {
  /** @type {Map<string, number[]>} */
  const free = new Map();
  old.forEach((child, index) => {
    const name = nameOf(child);
    const line = free.get(name);
    if (line) line.push(index);
    else free.set(name, [index]);
  });
  return next.map((child) => free.get(nameOf(child))?.shift() ?? -1);
}

/** @param {VNode | string} child */
function nameOf(child) {
  return typeof child === "string" ? "" : `${child.tag} ${child.key ?? ""}`;
}

/**
 * @param {Element} node
 * @param {Record<string, any>} before
 * @param {Record<string, any>} next
 */
function setProps(node, before, next) {
  for (const name in before) {
    if (!(name in next)) setProp(node, name, before[name], undefined);
  }
  for (const name in next) setProp(node, name, before[name], next[name]);
}

/**
 * @param {any} node
 * @param {string} name
 * @param {any} before
 * @param {any} value
 */
function setProp(node, name, before, value) {
  if (name === "ref") return;
  if (name.startsWith("on")) listen(node, name.slice(2).toLowerCase(), value);
  else if (name === "style") setStyle(node, before ?? {}, value ?? {});
  else if (STATES.has(name)) {
    if (node[name] !== Boolean(value)) node[name] = Boolean(value);
  } else if (before !== value) {
    // What was typed stays until the description itself changes, and what is being typed stays even then.
    if (name !== "value" || !("value" in node)) setAttribute(node, name, value);
    else if (node !== document.activeElement || node.value === String(before ?? "")) node.value = value ?? "";
  }
}

/**
 * @param {Element} node
 * @param {string} name
 * @param {any} value
 */
function setAttribute(node, name, value) {
  const isMissing = value === null || value === undefined || value === false;
  if (isMissing || (ADDRESSES.has(name) && !SAFE_ADDRESS.test(value))) node.removeAttribute(name);
  else node.setAttribute(name, value === true ? "" : value);
}

/**
 * @param {Element} node
 * @param {string} type
 * @param {((event: any) => void) | undefined} handler
 */
function listen(node, type, handler) {
  const known = handlers.get(node) ?? {};
  handlers.set(node, known);
  if (!(type in known)) node.addEventListener(type, (event) => known[type]?.(event));
  known[type] = handler ?? (() => undefined);
}

/**
 * @param {HTMLElement} node
 * @param {Record<string, string>} before
 * @param {Record<string, string>} next
 */
function setStyle(node, before, next) {
  for (const name in before) if (!(name in next)) node.style.removeProperty(name);
  for (const name in next) if (before[name] !== next[name]) node.style.setProperty(name, next[name]);
}
