// Things that change their place glide there, unless the person asked for less motion.

const calm = window.matchMedia("(prefers-reduced-motion: reduce)");

/** Run `change`, then let `nodes` glide from where they were. New ones rise into place. */
export function gliding(nodes, change) {
  if (calm.matches) {
    change();
    return;
  }
  const before = new Map(nodes.map((node) => [node, node.isConnected ? node.getBoundingClientRect() : null]));
  change();
  for (const [node, old] of before) glide(node, old);
}

function glide(node, old) {
  const now = node.getBoundingClientRect();
  const from = old
    ? { transform: `translate(${old.left - now.left}px, ${old.top - now.top}px)` }
    : { transform: "translateY(14px) scale(0.9)", opacity: 0 };
  if (old && Math.abs(old.left - now.left) + Math.abs(old.top - now.top) < 1) return;
  node.animate([from, { transform: "none", opacity: 1 }], { duration: 420, easing: "cubic-bezier(0.2, 0.9, 0.25, 1.1)" });
}
