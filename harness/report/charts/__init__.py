"""Charts as Vega-Lite specifications, drawn as SVG."""
