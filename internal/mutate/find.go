package main

import (
	"fmt"
	"go/ast"
	"go/token"
	"go/types"
	"regexp"
	"slices"
	"strings"
)

// writers matches the functions, as "file function", that judge no container.
var writers = regexp.MustCompile(`^engine/(probe|seal|writer)\.go |^engine/codec\.go encoder\.compressible` +
	`|^archive/(create|exclude|metadata|(source|target|xattr)_\w+)\.go ` +
	`|^archive/\w+\.go ((creator|sourceDir)\.|distinctRoots|checkNesting|checkWithin|sameFile)`)

// A check is one comparison that can reject.
type check struct {
	pkg  string // import path
	file string // from the root of the module, with slashes
	line int
	fn   string // the function around it, with its receiver's type
	cond string // its source text, in one line
}

// key tells checks apart, and changes only if the check itself does.
func (c *check) key() string { return c.file + " " + c.fn + " | " + c.cond }

func (c *check) String() string {
	return fmt.Sprintf("%s:%d %s: %s", c.file, c.line, c.fn, c.cond)
}

// verdicts is what is known of functions, by their full names.
type verdicts struct {
	judges map[string]bool // have checks, so that an error of theirs is a verdict
	makers map[string]bool // return an error always
}

func newVerdicts() *verdicts {
	return &verdicts{judges: make(map[string]bool),
		makers: map[string]bool{"fmt.Errorf": true, "errors.New": true, "errors.Join": true, "context.Cause": true}}
}

func (v *verdicts) size() int { return len(v.judges) + len(v.makers) }

// A finder looks for the checks of one file, and for the edits that let each be
// turned off.
type finder struct {
	*verdicts
	info   *types.Info
	fset   *token.FileSet
	src    []byte
	pkg    string
	name   string
	first  int // number of the file's first check
	checks []check
	edits  []edit
	seen   map[string]int // how often each key

	// Of the function in work:
	fn      string
	results *ast.FieldList
	end     ast.Stmt                 // its last statement
	closed  map[string]bool          // the closures that reject always
	origin  map[string]*ast.CallExpr // what gave a variable its value
}

// An edit puts text into a file.
type edit struct {
	offset int
	text   string
}

// find goes through all functions of a file.
func (f *finder) find(file *ast.File) {
	f.seen = make(map[string]int)
	for _, d := range file.Decls {
		d, ok := d.(*ast.FuncDecl)
		if !ok || d.Body == nil || len(d.Body.List) == 0 {
			continue
		}
		f.fn = d.Name.Name
		if d.Recv != nil {
			f.fn = strings.TrimPrefix(f.text(d.Recv.List[0].Type), "*") + "." + f.fn
		}
		if writers.MatchString(f.name + " " + f.fn) {
			continue
		}
		f.closed, f.origin = make(map[string]bool), make(map[string]*ast.CallExpr)
		before := len(f.checks)
		f.function(d.Type, d.Body)
		full := f.info.Defs[d.Name].(*types.Func).FullName()
		if len(f.checks) > before {
			f.judges[full] = true
		}
		if f.alwaysRejects(d.Type, d.Body) {
			f.makers[full] = true
		}
	}
}

func (f *finder) function(t *ast.FuncType, body *ast.BlockStmt) {
	results, end := f.results, f.end
	f.results, f.end = t.Results, nil
	if n := len(body.List); n > 0 {
		f.end = body.List[n-1]
	}
	ast.Inspect(body, f.visit)
	f.results, f.end = results, end
}

func (f *finder) visit(n ast.Node) bool {
	switch n := n.(type) {
	case *ast.FuncLit:
		f.function(n.Type, n.Body)
		return false
	case *ast.AssignStmt:
		f.remember(n)
		if name := f.result("bool"); len(n.Lhs) == 1 && name != "" && f.text(n.Lhs[0]) == name {
			f.accepting(n.Rhs[0])
		}
	case *ast.IfStmt:
		f.remember(n.Init)
		cond := f.between(n.If, n.Body.Lbrace)
		if f.rejects(n.Body.List, cond) {
			f.weaken(n.Cond, true)
		} else if b, ok := n.Else.(*ast.BlockStmt); ok && f.rejects(b.List, cond) {
			f.weaken(n.Cond, false)
		}
	case *ast.SwitchStmt:
		f.remember(n.Init)
		f.switched(n)
	case *ast.ReturnStmt:
		if k := len(n.Results); k > 0 && f.returns("bool") {
			f.accepting(n.Results[k-1])
		}
	}
	return true
}

// switched takes the cases of a switch without a tag, and the default of any, that
// reject.
func (f *finder) switched(n *ast.SwitchStmt) {
	for _, s := range n.Body.List {
		c := s.(*ast.CaseClause)
		switch {
		case !f.rejects(c.Body, f.between(n.Switch, n.Body.Lbrace)+f.between(c.Case, c.Colon)):
		case c.List == nil && n != f.end: // a function may not end in an if
			id := f.add(c, strings.TrimSpace("default of switch "+f.text(n.Tag)))
			f.edit(c.Colon+1, fmt.Sprintf(" if mutant.Reject(%d, true) {", id))
			f.edit(c.End(), "}")
		case n.Tag == nil:
			for _, cond := range c.List {
				f.weaken(cond, true)
			}
		}
	}
}

// remember keeps the calls that variables have their values from.
func (f *finder) remember(s ast.Stmt) {
	a, ok := s.(*ast.AssignStmt)
	if !ok {
		return
	}
	for i, v := range a.Lhs {
		from := a.Rhs[min(i, len(a.Rhs)-1)]
		if lit, ok := from.(*ast.FuncLit); ok {
			f.closed[f.text(v)] = f.alwaysRejects(lit.Type, lit.Body)
		}
		f.origin[f.text(v)], _ = from.(*ast.CallExpr)
	}
}

// rejects reports whether statements, run under a condition, reject something: an
// error is made, or one that the condition is about passed on, false returned, or
// a turn of a loop skipped.
func (f *finder) rejects(list []ast.Stmt, cond string) bool {
	return slices.ContainsFunc(list, func(s ast.Stmt) bool {
		switch s := s.(type) {
		case *ast.ReturnStmt:
			k := len(s.Results)
			if k == 0 || !f.returns("error") && !f.returns("bool") || !f.fails(s.Results[k-1]) {
				return false
			}
			return !f.isVariable(s.Results[k-1]) || strings.Contains(cond, f.text(s.Results[k-1]))
		case *ast.ExprStmt:
			call, ok := s.X.(*ast.CallExpr)
			return ok && strings.HasSuffix(f.text(call.Fun), ".fail")
		case *ast.AssignStmt:
			for i, v := range s.Lhs {
				again := strings.Contains(cond, f.text(v)+" != nil") // an error gets its place
				if len(s.Rhs) == len(s.Lhs) && f.isError(v) && f.fails(s.Rhs[i]) && !again {
					return true
				}
			}
		case *ast.BranchStmt:
			return s.Tok == token.CONTINUE && len(list) == 1
		}
		return false
	})
}

// fails reports whether e, an error or a bool, rejects.
func (f *finder) fails(e ast.Expr) bool {
	switch e := e.(type) {
	case *ast.CallExpr:
		return f.makers[f.callee(e)] || f.closed[f.text(e.Fun)]
	case *ast.Ident:
		return e.Name == "false" || e.Name != "nil" && f.isError(e)
	case *ast.BinaryExpr:
		return false
	}
	return true
}

// alwaysRejects reports whether every return of a function rejects. A variable that
// is returned under a condition is taken for an error.
func (f *finder) alwaysRejects(t *ast.FuncType, body *ast.BlockStmt) bool {
	results := f.results
	f.results = t.Results
	defer func() { f.results = results }()
	all := f.returns("error") || f.returns("bool")
	ast.Inspect(body, func(n ast.Node) bool {
		if r, ok := n.(*ast.ReturnStmt); ok {
			k := len(r.Results)
			all = all && k > 0 && f.fails(r.Results[k-1]) && !(r == body.List[len(body.List)-1] && f.isVariable(r.Results[k-1]))
		}
		_, nested := n.(*ast.FuncLit)
		return !nested
	})
	return all
}

// accepting weakens a bool that is returned, if it is a comparison.
func (f *finder) accepting(e ast.Expr) {
	if _, ok := ast.Unparen(e).(*ast.BinaryExpr); ok {
		f.weaken(e, false)
	}
}

// weaken makes a check of each part of a condition, true to reject or true to
// accept, that can be left out by itself: what is joined by || in the former and by
// && in the latter.
func (f *finder) weaken(e ast.Expr, reject bool) {
	switch x := ast.Unparen(e).(type) {
	case *ast.UnaryExpr:
		if x.Op == token.NOT && splits(x.X, !reject) {
			f.weaken(x.X, !reject)
			return
		}
	case *ast.BinaryExpr:
		if splits(x, reject) {
			for _, part := range []ast.Expr{x.X, x.Y} {
				if x.Op == joint(reject) || splits(part, reject) {
					f.weaken(part, reject)
				}
			}
			return
		}
	}
	cond := f.text(e)
	if x, ok := ast.Unparen(e).(*ast.BinaryExpr); ok && x.Op == token.NEQ && f.isError(x.X) && f.text(x.Y) == "nil" {
		if call := f.origin[f.text(x.X)]; call != nil {
			if !f.judges[f.callee(call)] {
				return
			}
			cond = f.text(call.Fun) + ": " + cond
		}
	}
	verb := "Accept"
	if reject {
		verb = "Reject"
	}
	id := f.add(e, cond)
	f.edit(e.Pos(), fmt.Sprintf("mutant.%s(%d, ", verb, id))
	f.edit(e.End(), ")")
}

// joint is the operator whose operands reject each by itself.
func joint(reject bool) token.Token {
	if reject {
		return token.LOR
	}
	return token.LAND
}

// splits reports whether weaken finds several parts in e.
func splits(e ast.Expr, reject bool) bool {
	switch x := ast.Unparen(e).(type) {
	case *ast.UnaryExpr:
		return x.Op == token.NOT && splits(x.X, !reject)
	case *ast.BinaryExpr:
		return x.Op == joint(reject) || x.Op == joint(!reject) && (splits(x.X, reject) || splits(x.Y, reject))
	}
	return false
}

func (f *finder) add(at ast.Node, cond string) (id int) {
	c := check{f.pkg, f.name, f.fset.Position(at.Pos()).Line, f.fn, cond}
	if f.seen[c.key()]++; f.seen[c.key()] > 1 {
		c.cond += fmt.Sprintf(" #%d", f.seen[c.key()])
	}
	f.checks = append(f.checks, c)
	return f.first + len(f.checks) - 1
}

func (f *finder) edit(at token.Pos, text string) {
	f.edits = append(f.edits, edit{f.fset.Position(at).Offset, text})
}

// instrumented returns the file with its edits.
func (f *finder) instrumented(file *ast.File) []byte {
	f.edit(file.Name.End(), "; import "+`"`+mutantPackage+`"`)
	slices.SortStableFunc(f.edits, func(a, b edit) int { return a.offset - b.offset })
	var out []byte
	at := 0
	for _, e := range f.edits {
		out = append(append(out, f.src[at:e.offset]...), e.text...)
		at = e.offset
	}
	return append(out, f.src[at:]...)
}

// text is the source of a node, in one line.
func (f *finder) text(n ast.Node) string {
	if n == nil {
		return ""
	}
	return f.between(n.Pos(), n.End())
}

func (f *finder) between(from, to token.Pos) string {
	src := f.src[f.fset.Position(from).Offset:f.fset.Position(to).Offset]
	return strings.Join(strings.Fields(string(src)), " ")
}

// returns reports whether the last result of the function in work has a type.
func (f *finder) returns(typ string) bool {
	if f.results == nil {
		return false
	}
	id, ok := f.results.List[len(f.results.List)-1].Type.(*ast.Ident)
	return ok && id.Name == typ
}

// result is the name of the last result, if it has one and this type.
func (f *finder) result(typ string) string {
	if !f.returns(typ) {
		return ""
	}
	names := f.results.List[len(f.results.List)-1].Names
	if len(names) == 0 {
		return ""
	}
	return names[len(names)-1].Name
}

func (f *finder) isError(e ast.Expr) bool {
	t := f.info.TypeOf(e)
	return t != nil && types.Identical(t, types.Universe.Lookup("error").Type())
}

// object is what e, a name, stands for.
func (f *finder) object(e ast.Expr) types.Object {
	switch e := ast.Unparen(e).(type) {
	case *ast.Ident:
		return f.info.Uses[e]
	case *ast.SelectorExpr:
		return f.info.Uses[e.Sel]
	}
	return nil
}

func (f *finder) isVariable(e ast.Expr) bool {
	v, ok := f.object(e).(*types.Var)
	return ok && v.Parent() != v.Pkg().Scope()
}

// callee is the full name of the function that is called, "" if it is no name.
func (f *finder) callee(call *ast.CallExpr) string {
	if fn, ok := f.object(call.Fun).(*types.Func); ok {
		return fn.Origin().FullName()
	}
	return ""
}
