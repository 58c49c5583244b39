package main

import (
	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/jedib0t/go-pretty/v6/text"

	"github.com/orrery-ai/orrery"
)

// choiceReport is what auto has chosen, for programs.
type choiceReport struct {
	Mode   string `json:"mode"`
	Tokens int    `json:"at_token"`
	Change bool   `json:"change"`
	Reason string `json:"reason"`
}

func choiceReports(choices []orrery.Choice) []choiceReport {
	var out []choiceReport
	for _, c := range choices {
		out = append(out, choiceReport{Mode: c.Mode.String(), Tokens: c.Tokens, Change: c.Change, Reason: c.Reason})
	}
	return out
}

// choiceTable shows what auto has chosen, for people.
func choiceTable(choices []choiceReport) string {
	const reasonWidth = 60
	t := newTable("auto", "at token", "because")
	t.SetColumnConfigs([]table.ColumnConfig{{Number: 2, Align: text.AlignRight, AlignHeader: text.AlignRight},
		{Number: 3, WidthMax: reasonWidth, WidthMaxEnforcer: text.WrapSoft}})
	for _, c := range choices {
		t.AppendRow(table.Row{c.Mode, c.Tokens, c.Reason})
	}
	return t.Render()
}
