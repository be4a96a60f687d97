# A network class of the student's own around the same U-Net, with other code and the same names of weights.

# %% solution="network"
class MyNetwork(torch.nn.Module):
    def __init__(self, alpha_bar):
        super().__init__()
        from course_lib.nets.unet import UNet

        self.unet = UNet(channels=1, width=32, multipliers=(1, 2), blocks=1, attention=(1,), patch=2)
        self.table = [float(a) for a in alpha_bar]

    def forward(self, x_t, t):
        a = torch.tensor([self.table[int(k)] for k in t]).reshape(-1, 1, 1, 1)
        return torch.sqrt(1 - a) * x_t + torch.sqrt(a) * self.unet(x_t, 4.0 * t)


def make_network(alpha_bar):
    return MyNetwork(alpha_bar)
