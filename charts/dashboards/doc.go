// Package dashboards is what Septum looks like in Grafana and to Prometheus: dashboards and
// alerting rules as values, in; Grafana's JSON and Prometheus's YAML in the chart, out.
//
// [All] are the dashboards and [Groups] the rules; "make generate" writes both into
// charts/septum/files.
package dashboards

//go:generate go run ./generate ../septum/files
