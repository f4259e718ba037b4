ip -6 addr add 2001:db8:1::11/128 dev eth0 nodad
ipvsadm -A -u 192.0.2.11:80 -s lblc
ipvsadm -a -u 192.0.2.11:80 -r 198.51.100.12:80 -i -w 3 --tun-type ipip -x 1 -y 0
ipvsadm -a -u 192.0.2.11:80 -r 198.51.100.18:0 -i -w 1 --tun-type gre
ipvsadm -A -u 192.0.2.10:53 -s sh
ipvsadm -a -u 192.0.2.10:53 -r 198.51.100.18:53 -m -w 5
ipvsadm -a -u 192.0.2.10:53 -r 198.51.100.12:53 -m -w 2
ipvsadm -a -u 192.0.2.10:53 -r 198.51.100.16:53 -m -w 3
ipvsadm -a -u 192.0.2.10:53 -r 198.51.100.14:53 -m -w 1
ipvsadm -a -u 192.0.2.10:53 -r 198.51.100.11:53 -m -w 5
ipvsadm -A -t [2001:db8:1::11]:443 -s lc -p 30
ipvsadm -A -t [2001:db8:1::11]:0 -s sh -p 600 -M 48 -b sh-port
ipvsadm -a -t [2001:db8:1::11]:0 -r [2001:db8:2::16]:0 -g -w 2
ipvsadm -a -t [2001:db8:1::11]:0 -r [2001:db8:2::12]:0 -g -w 10
