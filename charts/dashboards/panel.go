package dashboards

// query is one expression and the name of its series.
type query struct{ expr, legend string }

// The units that are used, by Grafana's names.
const (
	requestsPerSecond = "reqps"
	perSecond         = "ops"
	seconds           = "s"
	count             = "short"
	memory            = "bytes"
	share             = "percentunit"
	ago               = "dateTimeFromNow"
)

// row is a headline and its panels.
type row struct {
	title  string
	panels []Panel
}

func panel(kind, title, about, unit string, queries ...query) Panel {
	p := Panel{
		Type: kind, Title: title, Description: about, Datasource: datasource(), GridPos: Position{H: 8, W: 8},
		FieldConfig: &FieldConfig{Defaults: Field{Unit: unit}, Overrides: []Override{}},
	}
	for i, q := range queries {
		p.Targets = append(p.Targets, Target{
			RefID: string(rune('A' + i)), Datasource: datasource(), Expr: q.expr, LegendFormat: q.legend, Range: true, Format: "time_series",
		})
	}
	return p
}

// graph has lines over time.
func graph(title, about, unit string, queries ...query) Panel {
	p := panel("timeseries", title, about, unit, queries...)
	zero := 0.0
	p.FieldConfig.Defaults.Min = &zero
	p.FieldConfig.Defaults.Custom = map[string]any{"fillOpacity": 10, "showPoints": "never", "lineWidth": 1}
	p.Options = map[string]any{
		"legend":  map[string]any{"displayMode": "list", "placement": "bottom", "showLegend": true},
		"tooltip": map[string]any{"mode": "multi", "sort": "desc"},
	}
	return p
}

// number is the value now.
func number(title, about, unit string, q query) Panel {
	p := panel("stat", title, about, unit, q)
	p.GridPos = Position{H: 4, W: 4}
	p.Options = map[string]any{"reduceOptions": map[string]any{"calcs": []string{"lastNotNull"}}, "colorMode": "value", "graphMode": "area"}
	return p
}

// alarm is a number that is red unless it is 0.
func alarm(title, about, unit string, q query) Panel {
	p := number(title, about, unit, q)
	p.FieldConfig.Defaults.Thresholds = map[string]any{"mode": "absolute", "steps": []map[string]any{
		{"color": "green", "value": nil}, {"color": "red", "value": 0.000001},
	}}
	p.FieldConfig.Defaults.Color = map[string]any{"mode": "thresholds"}
	return p
}

// heat is a line of cells for each series, the darker the more.
func heat(title, about, unit string, q query) Panel {
	p := panel("status-history", title, about, unit, q)
	p.FieldConfig.Defaults.Color = map[string]any{"mode": "continuous-YlRd"}
	p.FieldConfig.Defaults.Custom = map[string]any{"fillOpacity": 90, "lineWidth": 0}
	p.Options = map[string]any{"showValue": "never", "rowHeight": 0.9, "legend": map[string]any{"showLegend": false}}
	return p
}

// buckets is a heat map of a histogram.
func buckets(title, about, unit, expr string) Panel {
	p := panel("heatmap", title, about, unit, query{expr, "{{le}}"})
	p.Targets[0].Format = "heatmap"
	p.Options = map[string]any{
		"calculate": false, "yAxis": map[string]any{"unit": unit},
		"color": map[string]any{"mode": "scheme", "scheme": "Oranges", "steps": 64}, "tooltip": map[string]any{"mode": "single"},
	}
	return p
}

// top are the largest, as bars.
func top(title, about, unit string, q query) Panel {
	p := panel("bargauge", title, about, unit, q)
	p.Targets[0].Instant, p.Targets[0].Range = true, false
	p.Options = map[string]any{
		"orientation": "horizontal", "displayMode": "gradient",
		"reduceOptions": map[string]any{"calcs": []string{"lastNotNull"}},
	}
	return p
}

// wide makes a panel as wide as the dashboard.
func wide(p Panel) Panel {
	p.GridPos = Position{H: 10, W: 24}
	return p
}

// dashboard puts the rows' panels from left to right and from top to bottom.
func dashboard(uid, title, about string, variables []Variable, rows []row) Dashboard {
	d := Dashboard{
		UID: uid, Title: title, Description: about, Tags: []string{"kubernetes", "networking", "septum"}, SchemaVersion: 39, Editable: true,
		Refresh: "30s", Timezone: "browser", GraphTooltip: 1, Time: TimeRange{From: "now-1h", To: "now"}, Templating: Templating{List: variables},
	}
	y, id := 0, 0
	place := func(p Panel, at Position) {
		id++
		p.ID, p.GridPos = id, at
		d.Panels = append(d.Panels, p)
	}
	for _, r := range rows {
		open := false
		place(Panel{Type: "row", Title: r.title, Collapsed: &open}, Position{H: 1, W: 24, Y: y})
		y++
		x, high := 0, 0
		for _, p := range r.panels {
			at := p.GridPos
			if x+at.W > 24 {
				x, y, high = 0, y+high, 0
			}
			at.X, at.Y = x, y
			place(p, at)
			x, high = x+at.W, max(high, at.H)
		}
		y += high
	}
	return d
}

func datasourceVariable() Variable {
	return Variable{Name: "datasource", Label: "Data source", Type: "datasource", Query: "prometheus", Current: map[string]any{}}
}

// namesOf is a variable with the values of a label of either end of flows. The condition is
// on both ends, with "end" for the end.
func namesOf(name, label string, sourceWhere, destinationWhere string) Variable {
	expr := "query_result(group by (value) (label_replace(hubble_flows_processed_total{" + sourceWhere + `}, "value", "$1", "source_` + name + `", "(.+)")` +
		" or label_replace(hubble_flows_processed_total{" + destinationWhere + `}, "value", "$1", "destination_` + name + `", "(.+)")))`
	return Variable{
		Name: name, Label: label, Type: "query", Datasource: datasource(), Definition: expr,
		Query: map[string]any{"query": expr, "refId": "variable"}, Regex: `/value="([^"]+)"/`,
		Multi: true, IncludeAll: true, AllValue: ".+", Refresh: 2, Sort: 1, Current: map[string]any{"text": "All", "value": "$__all"},
	}
}
