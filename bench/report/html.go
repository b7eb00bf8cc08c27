package report

import (
	"bytes"
	_ "embed"
	"html/template"
)

//go:embed page.html
var page string

// HTML is the report as one page that needs nothing else: no script, no font, no picture from elsewhere.
func (r *Report) HTML() ([]byte, error) {
	t, err := template.New("page").Funcs(template.FuncMap{"short": Short, "rows": r.of}).Parse(page)
	if err != nil {
		return nil, err
	}
	var b bytes.Buffer
	err = t.Execute(&b, struct {
		*Report
		Sections []section
	}{r, r.sections()})
	return b.Bytes(), err
}

// of is the rows of a workload.
func (r *Report) of(workload string) (rows []Row) {
	for _, row := range r.Rows {
		if row.Workload == workload {
			rows = append(rows, row)
		}
	}
	return rows
}
