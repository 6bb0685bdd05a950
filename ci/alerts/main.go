// Checks alert rules as `promtool check rules` does, and the queries of a Grafana dashboard, with Prometheus' own parser.
// promtool itself is linked with the clients of every cloud and takes many times as long to compile.
package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strings"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/rulefmt"
	"github.com/prometheus/prometheus/promql/parser"
)

var promql = parser.NewParser(parser.Options{})

func main() {
	if len(os.Args) != 3 {
		fmt.Fprintln(os.Stderr, "usage: alerts RULES.yaml DASHBOARD.json")
		os.Exit(64)
	}
	if err := errors.Join(rules(os.Args[1]), dashboard(os.Args[2])); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func rules(file string) error {
	groups, errs := rulefmt.ParseFile(file, false, model.UTF8Validation, promql, slog.Default())
	if len(errs) > 0 {
		return errors.Join(errs...)
	}
	for _, group := range groups.Groups {
		fmt.Printf("%s: %d rules in group %s\n", file, len(group.Rules), group.Name)
	}
	return nil
}

func dashboard(file string) error {
	text, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	var content struct {
		Panels []struct {
			Title   string
			Targets []struct{ Expr string }
		}
	}
	if err := json.Unmarshal(text, &content); err != nil {
		return fmt.Errorf("%s: %w", file, err)
	}
	var errs []error
	queries := 0
	for _, panel := range content.Panels {
		for _, target := range panel.Targets {
			queries++
			// What Grafana puts there depends on the screen.
			if _, err := promql.ParseExpr(strings.ReplaceAll(target.Expr, "$__rate_interval", "5m")); err != nil {
				errs = append(errs, fmt.Errorf("%s: panel %q: %w", file, panel.Title, err))
			}
		}
	}
	if queries == 0 {
		errs = append(errs, fmt.Errorf("%s: no panel has a query", file))
	}
	fmt.Printf("%s: %d queries in %d panels\n", file, queries, len(content.Panels))
	return errors.Join(errs...)
}
