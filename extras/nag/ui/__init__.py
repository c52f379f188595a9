"""What people see and send: the panel, pasted settings, API arguments, the report. Only panel.py knows
gradio."""
