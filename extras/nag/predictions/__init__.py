"""Methods that ask the model once more: a perturbed prediction (TPG, PAG), or one of the NAG negative (three-way).

formula.py says what becomes of the answers; call.py how the model is asked.
"""
