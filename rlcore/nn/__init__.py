"""Networks: torsos, recurrent cores, action heads and the actor-critic made of them."""
