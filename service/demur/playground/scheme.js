// Runs before anything is painted: a page that is dark by choice must not flash. What else there is to it: theme.js.
document.documentElement.dataset.theme = localStorage.getItem("demur.theme") ?? "auto";
