"""Grading of homework. `import ddpm_lesson` loads none of it.

`jail.run` is what a grader calls. `process` talks to one Python in a jail, `walls` is what the jail is made of, and
`inside` is what runs in it.
"""
