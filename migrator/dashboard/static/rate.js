// The one chart that moves: rows a second of a long change, drawn by uPlot from the "sample" events of the page.
"use strict";
addEventListener("DOMContentLoaded", () => {
  const box = document.getElementById("rate");
  if (!box) return;
  const colour = (name) => () => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  const most = 3600;
  const data = [[], [], []];
  const axis = { stroke: colour("--muted"), grid: { stroke: colour("--line"), width: 1 }, ticks: { stroke: colour("--line") } };
  const size = () => ({ width: Math.max(box.clientWidth - 16, 200), height: 240 });
  const clock = (_, values) => values.map((value) => new Date(value * 1000).toISOString().slice(11, 19)); // UTC, as everywhere
  const words = (_, values) => values.map((value) => value.toLocaleString("en"));
  const chart = new uPlot(
    {
      ...size(),
      scales: { y: { range: (_, low, high) => [0, Math.max(high || 1, 1) * 1.1] }, size: { range: (_, low, high) => [0, Math.max(high || 1, 1) * 1.6] } },
      axes: [{ ...axis, values: clock, space: 90 }, { ...axis, values: words, size: 64 }, { ...axis, scale: "size", side: 1, grid: { show: false }, values: words, size: 64 }],
      series: [
        { label: "time", value: (_, value) => (value == null ? "--" : clock(_, [value])[0]) },
        { label: "rows/s", stroke: colour("--accent"), width: 2, fill: colour("--accent-soft"), points: { show: false } },
        { label: "rows in a batch", scale: "size", stroke: colour("--odd-mark"), width: 1.5, dash: [5, 4], points: { show: false } },
      ],
    },
    data,
    box,
  );
  let last = null;
  document.addEventListener("sample", (event) => {
    const seen = JSON.parse(event.detail.data);
    const now = Date.now() / 1000;
    if (last && now - last.at < 0.5) return; // two at once say nothing of the speed
    if (last) {
      const values = [now, Math.max(seen.rows - last.rows, 0) / (now - last.at), seen.size];
      data.forEach((series, index) => series.push(values[index]));
      if (data[0].length > most) data.forEach((series) => series.shift());
      chart.setData(data);
    }
    last = { at: now, rows: seen.rows };
  });
  new ResizeObserver(() => chart.setSize(size())).observe(box);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => chart.redraw());
});
